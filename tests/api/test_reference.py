"""The reference page tells the API as it is."""

import importlib.util
from pathlib import Path

from controlplane.api.app import ROLE_KEY, assemble
from controlplane.api.route import PUBLIC

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_page_is_as_the_code_is() -> None:
    spec = importlib.util.spec_from_file_location("api", DOCS / "generate" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    page = (DOCS / "reference" / "api.md").read_text()
    assert generator.refresh(page) == page, "run docs/generate/api.py"
    for path, operations in assemble().openapi()["paths"].items():
        for method in operations:
            assert f"#### {method.upper()} /api/v1{path}\n" in page


def test_everything_is_described_for_people() -> None:
    for path, operations in assemble().openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation["description"].endswith("."), (method, path)
            assert operation[ROLE_KEY] or path in PUBLIC, (method, path)

"""How a version wants to be asked, read from its folder."""

from pathlib import Path

import pytest

from contracts.errors import InvalidInput
from controlplane.demo.model.versions import assemble, find_version
from registry.generation import GENERATION_FILE, read_generation


def test_the_demo_s_folders_say_how_they_are_asked(tmp_path: Path) -> None:
    found = read_generation(assemble("leaky", tmp_path / "leaky"))
    assert found is not None
    assert found.defaults == find_version("leaky").defaults
    assert found.faults.model_dump(exclude_none=True) == find_version("leaky").faults


@pytest.mark.parametrize(("text", "named"), [("[]", "object"), ("{", "JSON"), ('{"steps": 8}', "steps")])
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    assert read_generation(tmp_path) is None
    (tmp_path / GENERATION_FILE).write_text(text)
    with pytest.raises(InvalidInput, match=named):
        read_generation(tmp_path)

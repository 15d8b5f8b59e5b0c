"""The house rules that a linter doesn't know: sizes, light imports, quick start, no forbidden words."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("contracts", "rollout", "registry", "evaluation", "serving", "controlplane", "tests", "benchmarks")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))
LONGEST_FILE = 600
LONGEST_FUNCTION = 40


def tracked_text() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".js", ".css", ".html", ".json", ".ipynb", ""}
    return [ROOT / name for name in names.split("\0") if name and Path(name).suffix in suffixes]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    long = [
        f"{node.name}: {length}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (length := body_lines(node)) > LONGEST_FUNCTION
    ]
    assert not long


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body, its docstring and signature not counted."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body and body[-1].end_lineno else 0


@pytest.mark.parametrize(
    ("modules", "forbidden"),
    [
        ("rollout, contracts", ("torch", "mlflow", "fastapi", "starlette", "sklearn", "pandas", "PIL")),
        ("rollout.machine, contracts.specs.loading", ("torch", "mlflow", "fastapi", "starlette", "sklearn", "pandas")),
        (
            "controlplane.cli.main",
            ("torch", "mlflow", "diffusers", "sklearn", "numpy", "starlette", "aiohttp"),
        ),
    ],
)
def test_light_packages_import_nothing_heavy(modules: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print([name for name in {forbidden!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_no_text_names_a_machine_or_a_registry() -> None:
    forbidden = ("/" + "work/", "pypi" + ".org", "files.pythonhosted" + ".org", "../" + "shared")
    offenders = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in tracked_text()
        if path.is_file()
        for word in forbidden
        if word in path.read_text(errors="ignore")
    ]
    assert not offenders

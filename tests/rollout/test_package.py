"""The package is light, and its notebook runs."""

import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_importing_costs_little_more_than_the_libraries_it_needs() -> None:
    def measure(modules: str) -> float:
        code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
        done = [
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True) for _ in range(5)
        ]
        return min(float(one.stdout) for one in done)

    assert measure("rollout.machine, rollout.batch") <= 3 * measure("numpy, pydantic")


def test_decisions_need_no_heavy_library() -> None:
    code = "import sys, rollout.machine; print({'scipy', 'pandas', 'torch', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_notebook_runs() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "how_gates_decide.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(ROOT)}}).execute()

"""Evidently's own figures come from a process of its own, and its report stays a file."""

from pathlib import Path

import numpy as np
import pytest

from contracts.errors import Unavailable
from evaluation.drift.evidently_figures import evidently_figures


@pytest.mark.slow
def test_evidently_says_what_its_defaults_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    html = tmp_path / "evidently.html"
    reference = {"steady": rng.normal(size=900), "moved": rng.normal(size=900)}
    current = {"steady": rng.normal(size=300), "moved": rng.normal(0.8, 1.0, size=300)}
    points = {"asked": (rng.normal(size=(300, 4)), rng.normal(1.0, 1.0, size=(200, 4)))}
    found = {figure.column: figure for figure in evidently_figures(reference, current, points=points, html=html)}
    assert found["moved"].drifted
    assert found["moved"].n == 300
    assert found["asked"].drifted
    assert (found["asked"].n, found["asked"].threshold) == (200, 0.55)
    assert 0.55 < found["asked"].score <= 1.0
    assert found["moved"].threshold == 0.05
    assert html.stat().st_size > 1_000_000


def test_columns_without_values_are_said() -> None:
    with pytest.raises(Unavailable, match="nothing to compare"):
        evidently_figures({"a": np.array([])}, {"a": np.array([1.0])})

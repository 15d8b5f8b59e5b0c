"""Evidently's figures, shown beside the verdicts that decide; its HTML is a file of its own that a report links."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from contracts.errors import Unavailable
from evaluation.drift.detector import Array

TIMEOUT_S = 300.0
MOST_VALUES = 20_000
QUIET = {"DO_NOT_TRACK": "1", "ANONYMIZED_TELEMETRY": "false"}


@dataclass(frozen=True, slots=True)
class EvidentlyFigure:
    """What Evidently says of one column by its defaults: no correction for many columns, no memory of earlier looks.

    ``n`` are the values of the window that is judged.
    """

    column: str
    method: str
    threshold: float
    score: float
    drifted: bool
    n: int


def evidently_figures(
    reference: Mapping[str, Array],
    current: Mapping[str, Array],
    *,
    points: Mapping[str, tuple[Array, Array]] | None = None,
    html: Path | None = None,
) -> list[EvidentlyFigure]:
    """Return Evidently's drift figures for the columns that both sides have, and for embeddings.

    ``points`` are embeddings by name, reference (n, d) and current (m, d). For them Evidently is asked for its figure
    alone: its picture of them takes twenty seconds of CPU.

    Raises:
        Unavailable: when the extra ``drift`` isn't installed, or Evidently fails.
    """
    if find_spec("evidently") is None:
        raise Unavailable("Evidently is not installed", hint="pip install 'roost[drift]'")
    sides = {
        "reference": {c: _plain(reference[c]) for c in reference if c in current},
        "current": {c: _plain(current[c]) for c in reference if c in current},
    }
    shortest = min((len(v) for side in sides.values() for v in side.values()), default=0)
    if not shortest:
        raise Unavailable("Evidently has nothing to compare", hint="both windows need values in the same columns")
    columns = {side: {c: v[-shortest_of(found) :] for c, v in found.items()} for side, found in sides.items()}
    embedded = {n: [np.round(side, 6).tolist() for side in sides] for n, sides in (points or {}).items()}
    request = {**columns, "points": embedded, "html": str(html) if html is not None else None}
    answer = subprocess.run(
        [sys.executable, "-m", "evaluation.drift.evidently_child"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={**os.environ, **QUIET},
    )
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(f"Evidently failed: {last[0]}", hint="the verdicts don't depend on it")
    return [EvidentlyFigure(**row) for row in json.loads(answer.stdout)]


def shortest_of(columns: Mapping[str, list[float]]) -> int:
    """Return how many rows all columns of one side have."""
    return min(len(values) for values in columns.values())


def _plain(values: Array) -> list[float]:
    return [float(value) for value in values[-MOST_VALUES:] if not math.isnan(value)]

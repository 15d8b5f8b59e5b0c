"""Argo Rollouts: explicit steps with pauses, beside a background AnalysisRun.

After ``analysis/analysis.go``: a run aborts when failed measurements *exceed* ``failure_limit``; a measurement without
requests is NaN, which fails a ``successCondition``. Abort sends all traffic back at once.
"""

from dataclasses import dataclass, replace

import numpy as np

from rollout.evidence.stack import CHALLENGER
from rollout.peers.rule import Course, History, good_shares
from rollout.simulate.engine import End


@dataclass(frozen=True, slots=True)
class Argo:
    """Settings: weights of the steps, the pause in each, seconds between measurements, conditions and limit."""

    name: str = "Argo, docs"
    steps: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    pause_s: float = 600.0
    interval_s: float = 60.0
    success: tuple[float, ...] = (0.99,)
    failure_limit: int = 3

    def begin(self, runs: int) -> Course:
        """Begin at the first step."""
        return Course.begin(runs, self.steps[0])

    def look(self, course: Course, history: History) -> Course:
        """Take one measurement, and go on to the next step when its pause is over."""
        bad, total = history.window(self.interval_s)
        shares = good_shares(bad[..., CHALLENGER], total[..., CHALLENGER])[:, : len(self.success)]
        with np.errstate(invalid="ignore"):
            passed = (shares >= np.array(self.success)).all(axis=-1)
        course = replace(course, failed=course.failed + ~passed)
        course = course.ended(End.ROLLED_BACK, course.failed > self.failure_limit)
        step = int(history.at_s / self.pause_s + 1e-9)
        if step >= len(self.steps):
            return course.ended(End.PROMOTED, course.end == End.RUNNING)
        return replace(course, weight=np.where(course.end == End.RUNNING, self.steps[step], course.weight))


def code_defaults() -> Argo:
    """Return Argo with the code's failure limit, none."""
    return Argo(name="Argo, code defaults", failure_limit=0)

"""Flagger's canary analysis: failed checks are counted, never forgiven, and roll back at a threshold.

After ``pkg/controller/scheduler.go``: the threshold is looked at before the checks; the first tick only sets the first
weight; a check without a value fails; promotion comes at the tick after the maximum weight passed.
"""

from dataclasses import dataclass, replace

import numpy as np

from rollout.evidence.stack import CHALLENGER
from rollout.peers.rule import Course, History, good_shares
from rollout.simulate.engine import End


@dataclass(frozen=True, slots=True)
class Flagger:
    """Settings: seconds between checks, failed checks that roll back, weights in [0, 1], least share of good ones.

    ``success`` has one limit per indicator: request success, and for latency the share within the limit (p99 → 0.99).
    The docs' example is the default; the code's defaults are ``threshold`` 1 and a single step to ``max_weight`` 1.
    """

    name: str = "Flagger, docs"
    interval_s: float = 60.0
    threshold: int = 5
    step_weight: float = 0.1
    max_weight: float = 0.5
    success: tuple[float, ...] = (0.99,)

    def begin(self, runs: int) -> Course:
        """Begin at no traffic; the first tick sets the first weight."""
        return Course.begin(runs, self.step_weight)

    def look(self, course: Course, history: History) -> Course:
        """Check the last interval."""
        course = course.ended(End.ROLLED_BACK, course.failed >= self.threshold)
        bad, total = history.window(self.interval_s)
        shares = good_shares(bad[..., CHALLENGER], total[..., CHALLENGER])[:, : len(self.success)]
        # A comparison with NaN, an interval without requests, is false: a failed check, as in Flagger.
        with np.errstate(invalid="ignore"):
            passed = (shares >= np.array(self.success)).all(axis=-1)
        running = course.end == End.RUNNING
        at_top = course.weight >= self.max_weight - 1e-9
        course = replace(course, failed=course.failed + (running & ~passed))
        course = course.ended(End.PROMOTED, passed & at_top)
        raised = np.minimum(course.weight + self.step_weight, self.max_weight)
        return replace(course, weight=np.where((course.end == End.RUNNING) & passed, raised, course.weight))


def code_defaults() -> Flagger:
    """Return Flagger with what its code does when nothing is set but a success rate and one step."""
    return Flagger(name="Flagger, code defaults", threshold=1, step_weight=1.0, max_weight=1.0)

"""The SRE workbook's multi-window, multi-burn-rate rules as a canary gate.

The workbook has no ramp: the rules judge explicit steps, on windows clipped to the rollout's age.
"""

from dataclasses import dataclass, replace

import numpy as np

from rollout.burn import RULES, BurnRule, Severity
from rollout.evidence.stack import CHALLENGER
from rollout.peers.rule import Course, History
from rollout.simulate.engine import End


@dataclass(frozen=True, slots=True)
class Workbook:
    """Settings: rules that roll back, objectives per indicator, and the steps they watch over."""

    name: str = "SRE workbook, pages"
    rules: tuple[BurnRule, ...] = tuple(rule for rule in RULES if rule.severity is Severity.PAGE)
    objectives: tuple[float, ...] = (0.995,)
    steps: tuple[float, ...] = (0.05, 0.25, 0.5)
    pause_s: float = 600.0
    interval_s: float = 60.0

    def begin(self, runs: int) -> Course:
        """Begin at the first step."""
        return Course.begin(runs, self.steps[0])

    def look(self, course: Course, history: History) -> Course:
        """Evaluate all rules, and go on to the next step when its pause is over."""
        budget = 1.0 - np.array(self.objectives)
        fires = np.zeros(course.weight.size, dtype=bool)
        for rule in self.rules:
            both = np.ones((course.weight.size, budget.size), dtype=bool)
            for length_s in (rule.long_s, rule.short_s):
                bad, total = (a[..., : budget.size, CHALLENGER] for a in history.window(length_s))
                both &= bad > rule.factor * budget * np.maximum(total, 1.0)
            fires |= both.any(axis=-1)
        course = course.ended(End.ROLLED_BACK, fires)
        step = int(history.at_s / self.pause_s + 1e-9)
        if step >= len(self.steps):
            return course.ended(End.PROMOTED, course.end == End.RUNNING)
        return replace(course, weight=np.where(course.end == End.RUNNING, self.steps[step], course.weight))


def with_tickets() -> Workbook:
    """Return the rules with the ticket rule (burn 1 over three days and six hours) rolling back as well."""
    return Workbook(name="SRE workbook, tickets too", rules=RULES)

"""A monitor: one score of one version watched by a sequential detector, and what its alarms ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.specs.monitor import MonitorAction, MonitorSpec
from evaluation.drift.detector import Array, Detector, Range, Side
from evaluation.drift.reference import frozen_reference
from evaluation.drift.watch import REFERENCE_SHARE

HORIZON_VALUES = 100_000
SIDES = 2
RATING, NOT_ASKED_AGAIN = "user-rating", "not-asked-again"
USER_SIGNALS = frozenset({RATING, NOT_ASKED_AGAIN})


@dataclass(frozen=True, slots=True)
class Finding:
    """An alarm of one monitor about one version; ``evidence`` is the run length that would have to pass by chance."""

    monitor: str
    metric: str
    version: str
    action: MonitorAction
    sentence: str
    evidence: float
    n: int
    mean: float
    hook: str | None = None


@dataclass
class Monitor:
    """Watches one metric, each version by itself."""

    name: str
    spec: MonitorSpec
    detectors: dict[str, Detector] = field(default_factory=dict)
    sums: dict[str, tuple[int, float]] = field(default_factory=dict)

    def begin(self, version: str, usual: Array) -> str:
        """Start watching a version; return why it can't be watched, "" when it can.

        ``usual`` are the values of the four weeks before; a monitor with ``at_least`` needs none.
        """
        if self.spec.at_least is not None:
            sd = (self.spec.at_least * (1 - self.spec.at_least)) ** 0.5 if usual.size < 2 else float(usual.std(ddof=1))
            self.detectors[version] = Detector(Range(self.spec.at_least, 1.0, sd), self._run_length(is_exact=True))
            return ""
        reference = frozen_reference(usual, REFERENCE_SHARE * self.spec.false_alarms)
        if reference is None:
            return f"monitor {self.name}: {usual.size} earlier values of {self.spec.metric}, 100 are the least"
        self.detectors[version] = Detector(reference.range, self._run_length(is_exact=False))
        return ""

    def update(self, version: str, values: Array) -> Finding | None:
        """Take values of a version that is watched; return the first alarm they raise."""
        detector = self.detectors.get(version)
        if detector is None or not values.size:
            return None
        n, total = self.sums.get(version, (0, 0.0))
        n, total = n + values.size, total + float(values.sum())
        self.sums[version] = (n, total)
        alarms = detector.update(values)
        if not alarms:
            return None
        alarm = alarms[0]
        where = "below" if alarm.side is Side.BELOW else "above"
        bound = detector.range.low if alarm.side is Side.BELOW else detector.range.high
        sentence = (
            f"monitor {self.name}: {self.spec.metric} of {version} is {where} {bound:.3g} "
            f"since value {alarm.since + 1}, mean {total / n:.3g} over {n}"
        )
        mean, action, hook = total / n, self.spec.action, self.spec.hook
        return Finding(self.name, self.spec.metric, version, action, sentence, alarm.run_length, n, mean, hook)

    def _run_length(self, *, is_exact: bool) -> float:
        alpha = self.spec.false_alarms * (1.0 if is_exact else 1.0 - REFERENCE_SHARE)
        return SIDES * HORIZON_VALUES / alpha


def make_monitors(specs: Mapping[str, MonitorSpec]) -> list[Monitor]:
    """Return a monitor for each spec."""
    return [Monitor(name, spec) for name, spec in specs.items()]

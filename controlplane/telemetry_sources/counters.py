"""Counters read sample by sample: what each has grown by since it was last read, each sample counted once."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.telemetry_sources.prometheus_server import Sample, Series, Target, target_of

Identity = tuple[str, frozenset[tuple[str, str]]]

TOTAL, BAD, COUNT = "total", "bad", "count"
WITHIN = "within/"
"""Before an objective's name: answers within its threshold."""


@dataclass
class Group:
    """The series that one target tells of one version, by what they count."""

    series: dict[str, list[Series]] = field(default_factory=dict)

    def newest_s(self, kind: str) -> float:
        """Return when a kind was last scraped; minus infinity when never."""
        return max((series.newest_s for series in self.series.get(kind, ())), default=-math.inf)


@dataclass(frozen=True)
class Growth:
    """What a group's counters have grown by, and where reading goes on once that is taken."""

    by_kind: Mapping[str, float]
    cursors: Mapping[Identity, Sample]


class Counters:
    """Where reading stands in each series.

    ``since_s`` is where counting begins. A series' growth over a reset is its value after it. A series that begins
    on a target which was scraped before begins at zero, for a counter's labels appear with its first event; on a target
    seen for the first time its first sample is only the beginning, for nobody knows how old it is.
    """

    def __init__(self, since_s: float) -> None:
        self._since_s = since_s
        self._cursors: dict[Identity, Sample] = {}
        self._targets: set[Target] = set()

    def note_targets(self, groups: Iterable[tuple[Target, Group]]) -> None:
        """Remember who was scraped, once what they told was looked at."""
        self._targets |= {target for target, group in groups if TOTAL in group.series}

    def note_earlier(self, groups: Iterable[tuple[Target, Group]]) -> None:
        """Remember who was scraped before counting began."""
        told = [(target, series) for target, group in groups for series in group.series.get(TOTAL, ())]
        self._targets |= {target for target, series in told if series.samples[0][0] <= self._since_s}

    def growth(self, target: Target, group: Group, *, until_s: float) -> Growth:
        """Return what a group has grown by up to ``until_s``; nothing is taken yet."""
        by_kind, cursors = {}, {}
        for kind, found in group.series.items():
            by_kind[kind] = 0.0
            for series in found:
                identity = (kind, frozenset(series.labels.items()))
                cursor = self._cursors.get(identity) or self._beginning(target, series)
                fresh = [sample for sample in series.samples if cursor[0] < sample[0] <= until_s]
                for sample in fresh:
                    by_kind[kind] += sample[1] - cursor[1] if sample[1] >= cursor[1] else sample[1]
                    cursor = sample
                cursors[identity] = cursor
        return Growth(by_kind, cursors)

    def take(self, growth: Growth) -> None:
        """Note that a growth was counted."""
        self._cursors.update(growth.cursors)

    def leave(self, target: Target, group: Group) -> None:
        """Count nothing of a group for now, and note where its counting will go on."""
        self.take(self.growth(target, group, until_s=-math.inf))

    def forget_before(self, at_s: float) -> None:
        """Let go of series that ended long ago, however many versions and targets come and go."""
        self._cursors = {key: cursor for key, cursor in self._cursors.items() if cursor[0] >= at_s}
        self._targets &= {target_of(dict(labels)) for _, labels in self._cursors}

    def _beginning(self, target: Target, series: Series) -> Sample:
        earlier = [sample for sample in series.samples if sample[0] <= self._since_s]
        if earlier:
            return earlier[-1]
        return (-math.inf, 0.0) if target in self._targets else series.samples[0]

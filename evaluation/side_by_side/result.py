"""What a comparison came to: a value that can be kept, shown and relied on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from evaluation.prompts.prompt_set import Prompt
from evaluation.scorers.port import Score
from evaluation.side_by_side.ports import Drawing
from evaluation.side_by_side.tally import DRAWN, MeasureResult
from evaluation.side_by_side.verdicts import Finding

Z_95 = 1.96
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of the two versions: the most memory that it needed (None: nobody knows), and its failures by reason."""

    version: str
    digest: str
    peak_memory_bytes: int | None
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair in numbers: the scores of both sides by measure, with reasons, and how long each took."""

    prompt_id: str
    prompt: str
    seed: int
    strata: tuple[str, ...]
    scores: Mapping[str, tuple[float | None, float | None]]
    reasons: Mapping[str, tuple[str, str]]
    latencies_s: tuple[float | None, float | None]

    @classmethod
    def of(cls, prompt: Prompt, pair: tuple[Drawing, Drawing], scores: Mapping[str, tuple[Score, Score]]) -> "PairRow":
        """Return the row of one pair; an attempt that failed has no latency."""
        one, other = (drawing.latency_s if drawing.image_png is not None else None for drawing in pair)
        return cls(
            prompt.id,
            prompt.text,
            prompt.seed,
            prompt.strata,
            {name: (a.value, b.value) for name, (a, b) in scores.items()},
            {name: (a.reason, b.reason) for name, (a, b) in scores.items() if a.reason or b.reason},
            (one, other),
        )

    def worst_difference(self) -> tuple[float, str]:
        """Return the lowest difference (other minus one) over the measures, and which; a lost score counts as zero."""
        found = [((0.0 if b is None else b) - a, name) for name, (a, b) in self.scores.items() if a is not None]
        return min(found, default=(0.0, DRAWN))


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Latency side by side over ``n`` pairs drawn by both: medians, 95th percentiles, and the ratio other / one.

    ``ratio`` is the geometric mean of the pairs' ratios; ``low`` and ``high`` bound it with 95 % confidence.
    """

    n: int
    p50_one_s: float | None
    p50_other_s: float | None
    p95_one_s: float | None
    p95_other_s: float | None
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ShownPair:
    """One pair of the gallery: its row, its difference, and both pictures as small PNG (None: not drawn)."""

    row: PairRow
    difference: float
    measure: str
    pictures: tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``other`` beside ``one`` on a prompt set (name, version, digest): the finding, and all that it stands on."""

    one: Contestant
    other: Contestant
    prompts: tuple[str, int, str]
    tolerance: float
    alpha: float
    planned: int
    finding: Finding
    measures: tuple[MeasureResult, ...]
    strata: tuple[MeasureResult, ...]
    latency: LatencyResult
    rows: tuple[PairRow, ...]
    gallery: tuple[ShownPair, ...]

    @property
    def n(self) -> int:
        """Pairs drawn."""
        return len(self.rows)

    @property
    def sentence(self) -> str:
        """The finding in one sentence, with the measure that decided it."""
        versions = f"{self.other.version} beside {self.one.version}"
        after = f"after {self.n} of {self.planned} pairs"
        if self.finding is Finding.WORSE:
            found = next(r for r in (*self.measures, *self.strata) if r.finding is Finding.WORSE)
            where = f" on {found.stratum}" if found.stratum else ""
            scores = "" if found.n == 0 else f" ({found.mean_other:.3f} beside {found.mean_one:.3f}, {found.n} pairs)"
            return f"{versions}: worse in {found.measure}{where}{scores}, known {after}"
        if self.finding is Finding.NO_DATA:
            silent = [result.measure for result in self.measures if result.finding is Finding.NO_DATA]
            return f"{versions}: no data from {', '.join(silent)} {after}"
        if self.finding is Finding.INCONCLUSIVE:
            open_ = [result.measure for result in self.measures if result.finding is Finding.INCONCLUSIVE]
            return f"{versions}: not enough evidence in {', '.join(open_)} {after}"
        within = f"within a tolerance of {self.tolerance:g}"
        words = {Finding.BETTER: "better", Finding.EQUIVALENT: "equivalent", Finding.NOT_WORSE: "not worse"}
        better = [result.measure for result in self.measures if result.finding is Finding.BETTER]
        where = (
            f" in {', '.join(better)}, not worse in the rest," if better and len(better) < len(self.measures) else ""
        )
        return f"{versions}: {words[self.finding]}{where} {within}, known {after}"

    def to_document(self) -> dict[str, Any]:
        """Return the comparison as JSON, without the pairs and their pictures."""
        name, version, digest = self.prompts
        return {
            "format": FORMAT,
            "finding": self.finding.value,
            "sentence": self.sentence,
            "one": asdict(self.one),
            "other": asdict(self.other),
            "prompts": {"name": name, "version": version, "digest": digest},
            "tolerance": self.tolerance,
            "alpha": self.alpha,
            "pairs": self.n,
            "planned": self.planned,
            "measures": [asdict(result) for result in self.measures],
            "strata": [asdict(result) for result in self.strata],
            "latency": asdict(self.latency),
        }


def measure_latency(rows: Sequence[PairRow]) -> LatencyResult:
    """Return latency side by side over the pairs that both drew."""
    pairs = [(a, b) for a, b in (row.latencies_s for row in rows) if a is not None and b is not None]
    if not pairs:
        return LatencyResult(0, *[None] * 7)
    times = np.array(pairs)
    p50, p95 = np.quantile(times, 0.5, axis=0), np.quantile(times, 0.95, axis=0)
    logs = np.log(np.maximum(times[:, 1], 1e-9) / np.maximum(times[:, 0], 1e-9))
    mean, n = float(logs.mean()), len(pairs)
    half = Z_95 * float(logs.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    bounds = (math.exp(mean - half), math.exp(mean + half)) if n > 1 else (None, None)
    return LatencyResult(
        n, float(p50[0]), float(p50[1]), float(p95[0]), float(p95[1]), math.exp(mean), bounds[0], bounds[1]
    )

"""One measure over the pairs of a comparison: sums, evidence and finding; as a whole and in each stratum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.scorers.port import Score
from evaluation.side_by_side.ports import Claims, EvidenceMaker, PairedEvidence
from evaluation.side_by_side.verdicts import Finding, judge

DRAWN = "drawn"
"""The measure that needs no scorer: whether there is a picture at all."""


@dataclass(frozen=True, slots=True)
class MeasureResult:
    """How one measure came out, over all pairs or in one ``stratum``.

    ``n`` pairs have a score on both sides; ``one_sided`` have it on one side only and count with the worst that the
    missing score can be; ``unscored`` have none. ``difference`` is the mean of other minus one, ``low`` and ``high``
    its 95 % interval, which holds at all times.
    """

    measure: str
    digest: str
    finding: Finding
    n: int
    one_sided: int
    unscored: int
    mean_one: float | None
    mean_other: float | None
    difference: float | None
    low: float | None
    high: float | None
    log_evidence: float
    stratum: str = ""
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """Sums and evidence of one measure over some pairs."""

    evidence: PairedEvidence
    n: int = 0
    one_sided: int = 0
    unscored: int = 0
    sum_one: float = 0.0
    sum_other: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, one: Score, other: Score) -> None:
        """Take in one pair.

        A prompt that neither side has a score for says nothing about either. A score that is missing on one side may
        be missing because the picture is bad, so the difference is only known to lie between its extremes.
        """
        for score in (one, other):
            if score.value is None:
                self.reasons[score.reason] = self.reasons.get(score.reason, 0) + 1
        if one.value is not None and other.value is not None:
            self.n += 1
            self.sum_one += one.value
            self.sum_other += other.value
            self.evidence.add(other.value - one.value, other.value - one.value)
        elif one.value is not None:
            self.one_sided += 1
            self.evidence.add(-one.value, 1.0 - one.value)
        elif other.value is not None:
            self.one_sided += 1
            self.evidence.add(other.value - 1.0, other.value)
        else:
            self.unscored += 1

    @property
    def mean_difference(self) -> float:
        """Mean of other minus one over the pairs with both scores; zero for none."""
        return (self.sum_other - self.sum_one) / self.n if self.n else 0.0

    def result(self, measure: str, digest: str, *, stratum: str = "") -> MeasureResult:
        """Return how it stands."""
        n, claims = self.n, self.evidence.claims()
        low, high = self.evidence.interval() if n else (None, None)
        common = sorted(self.reasons, key=lambda reason: -self.reasons[reason])[:3]
        return MeasureResult(
            measure=measure,
            digest=digest,
            finding=judge(claims, n),
            n=n,
            one_sided=self.one_sided,
            unscored=self.unscored,
            mean_one=self.sum_one / n if n else None,
            mean_other=self.sum_other / n if n else None,
            difference=self.mean_difference if n else None,
            low=low,
            high=high,
            log_evidence=claims.log_evidence,
            stratum=stratum,
            reasons=tuple(f"{reason} ({self.reasons[reason]}×)" for reason in common),
        )


class MeasureTally:
    """One measure as a whole and in each stratum.

    Half of α watches the whole, half is shared by the strata: a version that is worse on one kind of prompt alone is
    worse. Not being worse is proven of the whole.
    """

    def __init__(
        self, measure: str, digest: str, strata: Sequence[str], make: EvidenceMaker, *, tolerance: float, alpha: float,
        measures: int,
    ) -> None:  # fmt: skip
        self.measure, self.digest, self._tolerance = measure, digest, tolerance
        share = alpha / measures / (2 if strata else 1)
        self._whole = Tally(make(tolerance, alpha_harm=share, alpha_safe=alpha))
        self._strata: Mapping[str, Tally] = {
            stratum: Tally(make(tolerance, alpha_harm=share / len(strata), alpha_safe=alpha)) for stratum in strata
        }

    def add(self, strata: Sequence[str], one: Score, other: Score) -> None:
        """Take in one pair, whose prompt belongs to ``strata``."""
        self._whole.add(one, other)
        for stratum in strata:
            if stratum in self._strata:
                self._strata[stratum].add(one, other)

    def claims(self) -> Claims:
        """Return what is proven of the whole."""
        return self._whole.evidence.claims()

    @property
    def finding(self) -> Finding:
        """The finding of the whole; worse also when a stratum is proven worse."""
        if any(tally.evidence.claims().worse for tally in self._strata.values()):
            return Finding.WORSE
        return judge(self.claims(), self._whole.n)

    @property
    def is_decided(self) -> bool:
        """Tell whether more pairs would change nothing: the whole is known, and no stratum looks worse unproven."""
        in_doubt = (tally.mean_difference < -self._tolerance for tally in self._strata.values())
        return self.finding is Finding.WORSE or (self.finding.is_decided and not any(in_doubt))

    def results(self) -> tuple[MeasureResult, tuple[MeasureResult, ...]]:
        """Return the result of the whole and those of the strata."""
        strata = tuple(t.result(self.measure, self.digest, stratum=name) for name, t in self._strata.items())
        return self._whole.result(self.measure, self.digest), strata

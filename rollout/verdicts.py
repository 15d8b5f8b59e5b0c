"""A gate's verdict: one of four, with value, limit, number and one plain sentence."""

import math
import sys
from enum import StrEnum

from contracts.notation import format_evidence
from contracts.records import record
from contracts.specs.slo import GateKind
from contracts.units import format_fraction
from rollout.policy import Gate, GateFamily


class Outcome(StrEnum):
    """What a gate says. ``no-data`` is never a pass and never, by itself, a failure."""

    PASS = "pass"  # noqa: S105 - a verdict
    HARM = "harm"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no-data"


@record(frozen=True, slots=True)
class Verdict:
    """What one gate says at one tick.

    ``value`` (NaN without data) and ``limit`` are in the gate's measure: a bad rate, a ratio of bad rates, a mean
    score. ``n`` counts the requests or scores of the challenger. ``evidence`` of harm proves it when ``needed`` is
    reached; ``safe_evidence`` and ``safe_needed`` are the same for safety (NaN for a gate without a safe side).
    ``part`` is the slice with most evidence ("" for all traffic); ``why`` says why there is no data.
    """

    asked: Gate
    outcome: Outcome
    subject: str
    value: float
    n: int
    evidence: float
    safe_evidence: float
    part: str = ""
    why: str = ""

    @property
    def gate(self) -> str:
        """The gate's name."""
        return self.asked.name

    @property
    def sli(self) -> str:
        """The indicator that the gate reads."""
        return self.asked.sli

    @property
    def family(self) -> GateFamily:
        """What the gate compares."""
        return self.asked.family

    @property
    def kind(self) -> GateKind:
        """What the gate may do."""
        return self.asked.kind

    @property
    def limit(self) -> float:
        """What is tolerable."""
        return self.asked.tolerable

    @property
    def needed(self) -> float:
        """The evidence that proves harm, 1/α of the gate."""
        return 1.0 / self.asked.alpha

    @property
    def safe_needed(self) -> float:
        """The evidence that proves safety, 1/β; NaN for a gate without a safe side."""
        return math.nan if self.asked.unacceptable is None else 1.0 / self.asked.beta

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, with value, limit and evidence."""
        if self.outcome is Outcome.NO_DATA:
            return f"{self.gate}: no data on {self.subject}: {self.why}"
        return f"{self._finding()}; {self._proof()}"

    def to_document(self) -> dict[str, str | int | float | None]:
        """Return the verdict for JSON; NaN becomes null, infinity the largest float."""
        asked = self.asked
        return {
            "gate": asked.name,
            "sli": asked.sli,
            "family": asked.family.value,
            "kind": asked.kind.value,
            "outcome": self.outcome.value,
            "subject": self.subject,
            "n": self.n,
            "part": self.part,
            "sentence": self.sentence,
            "value": _number(self.value),
            "limit": _number(self.limit),
            "evidence": _number(self.evidence),
            "needed": _number(self.needed),
            "safe_evidence": _number(self.safe_evidence),
            "safe_needed": _number(self.safe_needed),
        }

    def _finding(self) -> str:
        where = f" in {self.part}" if self.part and self.outcome is Outcome.HARM else ""
        if math.isnan(self.value):
            return f"{self.subject} has no {self.sli} counts yet{where}"
        if self.family is GateFamily.BURN:
            return (
                f"{self.subject} fails {format_fraction(self.value)} of requests{where} ({self.sli}), "
                f"the limit is {format_fraction(self.limit)}"
            )
        if self.family is GateFamily.RELATIVE and math.isinf(self.value):
            return (
                f"{self.subject} fails and the champion does not{where} ({self.sli}), "
                f"the limit is {self.limit:.3g} times"
            )
        if self.family is GateFamily.RELATIVE:
            return (
                f"{self.subject} fails {self.value:.3g} times as often as the champion{where} ({self.sli}), "
                f"the limit is {self.limit:.3g} times"
            )
        return f"{self.subject} scores {self.value:.3g} in {self.sli}, the limit is {self.limit:.3g}"

    def _proof(self) -> str:
        safe = f"{format_evidence(self.safe_evidence)}, needed {format_evidence(self.safe_needed)}"
        if self.outcome is Outcome.PASS:
            return f"evidence of safety {safe}"
        text = f"evidence {format_evidence(self.evidence)}, needed {format_evidence(self.needed)}"
        if self.outcome is Outcome.INCONCLUSIVE and not math.isnan(self.safe_evidence):
            return f"{text}; of safety {safe}"
        return text


def _number(value: float) -> float | None:
    return None if math.isnan(value) else min(value, sys.float_info.max)

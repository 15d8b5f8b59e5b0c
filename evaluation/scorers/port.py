"""The scorer port. A scorer that fails or can't judge gives *no data*, never a pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from contracts.wire.telemetry import SampledOutput


@dataclass(frozen=True, slots=True)
class Score:
    """A judgement of one output: ``value`` in [0, 1], or None with the reason why there is none."""

    value: float | None
    reason: str = ""


class Scorer(Protocol):
    """Judges a batch of outputs, the better the higher; its name and digest are what its scores may be compared by.

    The ``digest`` changes whenever the same output could be judged differently: scores of two digests are two
    series, never compared.
    """

    @property
    def name(self) -> str:
        """The name that objectives refer to."""
        ...

    @property
    def digest(self) -> str:
        """Identity of the scorer's content: weights and settings."""
        ...

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Return one score for each sample, in order."""
        ...

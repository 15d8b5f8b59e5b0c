"""What review needs of the rest: evidence that one version is preferred, valid at any time."""

from collections.abc import Sequence
from typing import Protocol


class PairedEvidence(Protocol):
    """An e-process on paired differences in [-1, 1]; the null is that neither version is preferred."""

    def value(self, differences: Sequence[float]) -> float:
        """Return the evidence after all differences, in their order; 1 without any."""
        ...

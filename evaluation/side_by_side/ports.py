"""What a comparison needs of others: something that draws, and evidence that may be looked at after every pair."""

from dataclasses import dataclass
from typing import Protocol

from evaluation.prompts.prompt_set import Prompt


@dataclass(frozen=True, slots=True)
class Drawing:
    """One attempt to draw: a picture and how long it took, or None and why there is none."""

    image_png: bytes | None
    latency_s: float
    failure: str = ""


class Painter(Protocol):
    """Draws with one version."""

    @property
    def version(self) -> str:
        """The version, ``tags@13``."""
        ...

    @property
    def digest(self) -> str:
        """The digest of its content."""
        ...

    def draw(self, prompt: Prompt) -> Drawing:
        """Draw a prompt with its own seed; an attempt that fails is told, never raised."""
        ...

    def peak_memory_bytes(self) -> int | None:
        """Return the most memory that the version needed, None when nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class Claims:
    """What is proven of a mean difference (other minus one), each with the error rate that was asked for.

    ``worse``: below minus the tolerance; ``better``: above it; ``not_worse`` and ``not_better`` are their opposites.
    ``log_evidence`` is ln of the largest evidence of the four.
    """

    worse: bool = False
    better: bool = False
    not_worse: bool = False
    not_better: bool = False
    log_evidence: float = 0.0


class PairedEvidence(Protocol):
    """Evidence about the mean of paired differences in [-1, 1]; valid however often one looks, whenever one stops."""

    def add(self, lowest: float, highest: float) -> None:
        """Take in one pair: its difference, or the bounds of it when one side has no score."""
        ...

    def claims(self) -> Claims:
        """Return what is proven by now."""
        ...

    def interval(self) -> tuple[float, float]:
        """Return a 95 % interval of the mean difference that holds at all times."""
        ...


class EvidenceMaker(Protocol):
    """Makes evidence for one question."""

    def __call__(self, tolerance: float, *, alpha_harm: float, alpha_safe: float) -> PairedEvidence:
        """Return fresh evidence.

        ``alpha_harm`` is the error rate of ``worse`` and of ``better``, ``alpha_safe`` that of their opposites.
        """
        ...

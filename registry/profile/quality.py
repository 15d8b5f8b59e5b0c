"""Quality by a scorer that is handed in: the same prompts and seeds for every version, so that figures are paired."""

import hashlib
import math
from collections.abc import Sequence
from typing import Final, Protocol

from scipy.stats import norm

from contracts.errors import Unavailable
from contracts.wire.worker import GenerateRequest
from registry.profile.document import QualityFigure
from registry.profile.quantiles import CONFIDENCE

SEED: Final = 41_000


class Judge(Protocol):
    """A scorer of pictures; whose it is, the composition root knows."""

    @property
    def name(self) -> str:
        """The scorer's name."""
        ...

    @property
    def digest(self) -> str:
        """Identity of the scorer's content."""
        ...

    def score(self, prompts: Sequence[str], pictures: Sequence[bytes]) -> list[float | None]:
        """Return a score in [0, 1] for each picture (PNG), None where it can't tell."""
        ...


class Painter(Protocol):
    """A running worker that draws."""

    def paint(self, requests: Sequence[GenerateRequest]) -> tuple[bytes, ...]:
        """Draw one batch and return its pictures as PNG; raises ``Unavailable`` when it can't."""
        ...


def measure_quality(painter: Painter, judge: Judge, prompts: Sequence[str]) -> QualityFigure:
    """Draw every prompt as the version draws by default, the k-th from a fixed seed plus k, and let the judge score.

    Raises:
        Unavailable: when the version can't draw, or the judge can tell of no picture.
    """
    requests = (GenerateRequest(prompt=prompt, seed=SEED + k) for k, prompt in enumerate(prompts))
    pictures = [painter.paint([request])[0] for request in requests]
    scores = judge.score(prompts, pictures)
    known = [score for score in scores if score is not None]
    if not known:
        raise Unavailable(f"{judge.name} can tell of none of {len(scores)} pictures", hint="give prompts that it knows")
    mean = sum(known) / len(known)
    low, high = mean_interval(mean, len(known))
    return QualityFigure(
        scorer=judge.name,
        scorer_digest=judge.digest,
        value=mean,
        low=low,
        high=high,
        n=len(known),
        unjudged=len(scores) - len(known),
        prompts_digest=digest_prompts(prompts),
        seed=SEED,
    )


def mean_interval(mean: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a mean of n scores in [0, 1]; wider than need be for scores between 0 and 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))


def digest_prompts(prompts: Sequence[str]) -> str:
    """Return the identity of a list of prompts."""
    return "sha256:" + hashlib.sha256("\n".join(prompts).encode()).hexdigest()

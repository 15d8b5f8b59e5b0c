"""How far the making of a version is, by the step that it tells."""

from typing import Final

MILESTONES: Final = {
    "loading": 0.05,
    "recording": 0.10,
    "exporting": 0.15,
    "quantising": 0.40,
    "golden": 0.55,
    "timing": 0.75,
    "comparing": 0.75,
    "registering": 0.98,
}
"""Share that is done when a step begins with a word."""


def share_done(step: str) -> float:
    """Return how far it is, in [0, 1], when it begins a step."""
    return next((share for begin, share in MILESTONES.items() if step.startswith(begin)), 0.0)

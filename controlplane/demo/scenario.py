"""The demo's story as data: who is champion, who challenges, and how each rollout must end."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec

SPEC = Path(__file__).with_name("service.yaml")
FASTER = "faster"
"""Stands for the version that the demo builds itself from the first champion, by a recipe."""


class Fate(StrEnum):
    """What becomes of a challenger."""

    PROMOTED = "promoted"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    REVERTED = "reverted"
    ABORTED = "aborted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a case ends.

    ``by`` names the gates that proved harm. ``held``: on the way the share was held because both versions burned.
    """

    fate: Fate
    by: tuple[str, ...] = ()
    held: bool = False

    def __str__(self) -> str:
        words = f"{self.fate.value} by {' and '.join(self.by)}" if self.by else self.fate.value
        return f"held, then {words}" if self.held else words

    def meets(self, expected: "Ending") -> bool:
        """Tell whether it is as expected; more gates are no fault of the rollout, nor is a hold that nobody expected.

        A version so slow that requests time out fails by availability, too.
        """
        return self.fate is expected.fate and set(self.by) >= set(expected.by) and self.held >= expected.held


@dataclass(frozen=True, slots=True)
class Case:
    """One rollout: the demo version that challenges, how it must end, and the lesson of it.

    ``force`` insists on what was refused for its first pictures. With ``outage`` all workers stop answering for a
    while once the challenger has traffic. With ``bounded`` no more bad answers may be served than the harm budget
    allows.
    """

    version: str
    expected: Ending
    lesson: str
    force: bool = False
    outage: bool = False
    bounded: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """The version that serves at the start, and the rollouts in their order."""

    champion: str
    cases: tuple[Case, ...]

    def load_spec(self) -> ServiceSpec:
        """Return the service that the demo serves."""
        return load_service_spec(SPEC.read_text(encoding="utf-8"), subject=SPEC.name)


DEFAULT_SCENARIO = Scenario(
    champion="good",
    cases=(
        Case("swapped-rows", Ending(Fate.ROLLED_BACK, ("text",)), "status 200, sharp digits, the wrong ones"),
        Case("black", Ending(Fate.REFUSED), "black pictures: the first prompts show it"),
        Case("black", Ending(Fate.ROLLED_BACK, ("text",)), "... and when a person insists", force=True, bounded=True),
        Case("many-steps", Ending(Fate.ROLLED_BACK, ("latency",)), "the same pictures, six times slower"),
        Case("leaky", Ending(Fate.ROLLED_BACK, ("availability",)), "runs out of memory; the champion answers instead"),
        Case("distilled", Ending(Fate.PROMOTED, held=True), "an outage hits both versions", outage=True),
        Case(FASTER, Ending(Fate.PROMOTED), "int8, built meanwhile: as good, several times faster"),
        Case("wears-out", Ending(Fate.REVERTED, ("text",)), "degrades only after its promotion, in its bake"),
    ),
)

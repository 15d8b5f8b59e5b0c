"""The demo's story as data: who is champion, who challenges, and how each rollout must end."""

from dataclasses import dataclass
from pathlib import Path

from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from rollout.phases import Phase

SPEC = Path(__file__).with_name("service.yaml")


@dataclass(frozen=True, slots=True)
class Case:
    """One rollout: the demo version that challenges, and the phase that it must end in."""

    version: str
    expected: Phase


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
    cases=(Case("distilled", Phase.PROMOTED), Case("swapped-rows", Phase.ROLLED_BACK)),
)

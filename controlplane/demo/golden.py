"""Golden prompts before any traffic: a version whose pictures are blank is refused."""

from pathlib import Path

from contracts.ids import VersionId
from contracts.specs.service import ServiceSpec
from controlplane.loop.effects import worker_spec
from controlplane.optimise.drawing import draw_golden
from evaluation.price_tags.grammar import figure_prompts
from registry.catalogue import Catalogue, VersionRecord
from registry.golden import GoldenSet, find_faults, measure_difference

PROMPTS = 8


class GoldenPrompts:
    """A precondition of rollouts: the challenger draws the golden prompts in a process of its own."""

    def __init__(self, catalogue: Catalogue, logs: Path) -> None:
        self._catalogue, self._logs = catalogue, logs

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        """Return why the challenger may not be tried, or ""."""
        golden = GoldenSet.of(figure_prompts(PROMPTS))
        worker = worker_spec(self._catalogue, challenger.id)
        drawn = draw_golden(worker, golden, log=self._logs / f"golden-{challenger.id}.log")
        return "; ".join(find_faults(measure_difference(drawn.pictures, drawn.pictures), None))

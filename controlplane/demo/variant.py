"""The faster version of the demo: built from the champion by a recipe, proven and profiled, while users are served.

``python -m controlplane.demo.variant``: in a process of its own, with lower priority than whoever serves.
"""

import os
import threading
from pathlib import Path

from contracts.errors import RoostError
from contracts.ids import VersionId, VersionRef
from contracts.model import Frozen
from controlplane.optimise.child import Tell, run_child, serve_parent
from controlplane.settings import Settings

RECIPE = "onnx-int8-dynamic"
GOLDEN_PROMPTS = 16
TIMING_BUDGET_S = 5.0
PROFILING_BUDGET_S = 5.0
BATCHES = (1, 2, 4)
LOWER_PRIORITY = 10


class VariantSpec(Frozen):
    """What to build from, and the home in which it is registered."""

    home: Path
    parent: VersionId


class Variant(Frozen):
    """What was built: its version, and what it is in words."""

    version: VersionId
    story: str


class VariantBuild:
    """Builds in the background; ``step`` tells what it is at."""

    def __init__(self, settings: Settings, parent: VersionId) -> None:
        self.step = "starting"
        self._spec = VariantSpec(home=settings.home, parent=parent)
        self._log = settings.logs / "variant.log"
        self._built: Variant | None = None
        self._error: RoostError | None = None
        self._thread = threading.Thread(target=self._build, name="variant", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended, well or not."""
        return not self._thread.is_alive()

    @property
    def is_built(self) -> bool:
        """Tell whether the version is there."""
        return self._built is not None

    def result(self) -> Variant:
        """Wait for the version.

        Raises:
            RoostError: what kept it from being built.
        """
        self._thread.join()
        if self._built is None:
            raise self._error or RoostError("the faster version was not built", hint=f"read {self._log}")
        return self._built

    def _build(self) -> None:
        try:
            told = run_child(__name__, self._spec.model_dump_json(), log=self._log, tell=self._note)
            self._built = Variant.model_validate(told)
        except RoostError as error:
            self._error = error

    def _note(self, step: str) -> None:
        self.step = step


def build(spec: VariantSpec, tell: Tell) -> Variant:
    """Make the version by its recipe, prove it on golden prompts, register it and profile it.

    Raises:
        RoostError: when it can't be made or does not pass.
    """
    from controlplane.optimise.job import OptimisePlan, optimise
    from controlplane.optimise.quality import choose_prompts, choose_scorer
    from controlplane.profiling.job import ProfilePlan, profile_version
    from registry.mlflow_catalogue import MlflowCatalogue
    from registry.profile.grid import Grid
    from registry.profile.measure import Effort

    settings = Settings(spec.home)
    catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
    record = catalogue.get(VersionRef(spec.parent.model, number=spec.parent.number))
    plan = OptimisePlan(
        RECIPE,
        prompts=choose_prompts(None, "text-accuracy")[:GOLDEN_PROMPTS],
        scorer=choose_scorer("text-accuracy", record.id),
        require_gain=True,
        timing_budget_s=TIMING_BUDGET_S,
    )
    report = optimise(catalogue, record, plan, settings, tell=tell)
    if report.version is None:
        raise RoostError("the faster version was not registered")
    made = catalogue.get(VersionRef(spec.parent.model, number=report.version.number))
    size = (made.defaults.height, made.defaults.width)
    grid = Grid((size,), (made.defaults.num_inference_steps,), BATCHES)
    effort = Effort(budget_s=PROFILING_BUDGET_S, starts=1)
    profile = profile_version(catalogue, made, ProfilePlan(grid, effort=effort), settings, tell=tell)
    timing = report.evidence.timing
    story = (
        f"{RECIPE}, {report.size_ratio:.2f} × the size, {1 / timing.ratio:.1f} times as fast, "
        f"drawn {profile.limits.max_batch_size} at a time"
    )
    return Variant(version=made.id, story=story)


def _work(spec_json: str, tell: Tell) -> object:
    os.nice(LOWER_PRIORITY)
    return build(VariantSpec.model_validate_json(spec_json), tell).model_dump(mode="json")


if __name__ == "__main__":
    serve_parent(_work)

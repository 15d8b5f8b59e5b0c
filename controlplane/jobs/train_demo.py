"""The job that trains the demo model from nothing; see `controlplane.demo.model.train`."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from contracts.ids import Name
from controlplane.jobs.arguments import Arguments
from controlplane.jobs.context import JobContext

if TYPE_CHECKING:
    from controlplane.demo.model.settings import TrainSettings

STAGES = 4
"""The last one draws and measures what the three before have made."""
MOST_STEPS = 1_000_000
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]


class TrainDemoArguments(Arguments):
    """The seed of the training, and the folder below the home's ``trained`` that the weights go to.

    The rest is how long each stage takes, in optimiser steps, and how many pictures its card's figures are of; the
    defaults made the shipped weights.
    """

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    autoencoder_steps: Steps = 1500
    denoiser_steps: Annotated[int, Field(ge=2, le=MOST_STEPS)] = 2200
    distillation_steps: Steps = 300
    judged: Annotated[int, Field(ge=1, le=10_000)] = 256


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Train, and put the versions into their place when all are there; what an earlier attempt put there stays."""
    from contracts.errors import InvalidInput
    from controlplane.demo.model.train import train
    from controlplane.optimise.staging import staging
    from controlplane.settings import Settings

    asked = TrainDemoArguments.model_validate(arguments)
    settings = Settings(Path(context.home))
    out = settings.trained / asked.name
    if not context.step("is-free", lambda: not out.exists()):
        raise InvalidInput(f"name: {out} is there already", hint="choose another name")
    if not out.exists():
        settings.trained.mkdir(exist_ok=True)
        with staging(settings.home / "training") as directory:
            made = train(
                directory / asked.name,
                asked.seed,
                start=Stages(context).start,
                settings=_settings(asked),
                figures_n=asked.judged,
            )
            made.rename(out)
    return {"folder": str(out), "versions": sorted(path.name for path in out.iterdir())}


def _settings(asked: TrainDemoArguments) -> "TrainSettings":
    """Return the shipped weights' settings with other lengths; no more tags are drawn than its batches hold."""
    from controlplane.demo.model.settings import DistilSettings, TrainSettings, UnetSettings, VaeSettings

    steps, usual = asked.denoiser_steps, UnetSettings()
    return TrainSettings(
        vae=VaeSettings(steps=asked.autoencoder_steps),
        unet=UnetSettings(steps=steps, early_step=steps // 2, bank=min(usual.bank, steps * usual.batch)),
        distil=DistilSettings(iterations=asked.distillation_steps),
    )


class Stages:
    """Tells the worker how far the training is, by its stages and their steps."""

    def __init__(self, context: JobContext) -> None:
        self._context, self._begun = context, 0

    def start(self, stage: str, steps: int) -> Callable[[int, float], None]:
        """Begin a stage; what is returned is told of its steps."""
        before, self._begun = self._begun, self._begun + 1

        def report(step: int, loss: float) -> None:
            told = stage if math.isnan(loss) else f"{stage}, loss {loss:.3f}"
            self._context.report((before + step / steps) / STAGES, told)

        return report

"""The job that trains the demo model from nothing; see `controlplane.demo.model.train`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from contracts.ids import Name
from controlplane.jobs.arguments import Arguments
from controlplane.jobs.context import JobContext

STAGES = 3


class TrainDemoArguments(Arguments):
    """The seed of the training, and the folder below the home's ``trained`` that the weights go to."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    name: Name


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
            made = train(directory / asked.name, asked.seed, start=Stages(context).start)
            made.rename(out)
    return {"folder": str(out), "versions": sorted(path.name for path in out.iterdir())}


class Stages:
    """Tells the worker how far the training is, by its stages and their steps."""

    def __init__(self, context: JobContext) -> None:
        self._context, self._begun = context, 0

    def start(self, stage: str, steps: int) -> Callable[[int, float], None]:
        """Begin a stage; what is returned is told of its steps."""
        before, self._begun = self._begun, self._begun + 1
        return lambda step, loss: self._context.report((before + step / steps) / STAGES, f"{stage}, loss {loss:.3f}")

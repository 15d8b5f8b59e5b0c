"""Sampling recipes: fewer steps, another scheduler, other guidance. Often the largest win, and no weight changes.

Steps and guidance become the version's generation defaults; the scheduler's class and settings lie in its directory.
"""

import json
from dataclasses import dataclass
from typing import Final

from contracts.errors import InvalidInput
from registry.recipes.port import Draft, Needs, Stage

SCHEDULERS: Final = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpm++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
}
INDEX_FILE: Final = "model_index.json"
NEEDS: Final = Needs(torch_weights=False)


@dataclass(frozen=True)
class Steps:
    """Draw in so many steps."""

    steps: int
    stage: Stage = Stage.SAMPLING
    needs: Needs = NEEDS

    @property
    def name(self) -> str:
        """``steps=4``."""
        return f"steps={self.steps}"

    def apply(self, draft: Draft) -> None:
        """Write the generation default."""
        draft.defaults = draft.defaults.model_copy(update={"num_inference_steps": self.steps})


@dataclass(frozen=True)
class Guidance:
    """Draw with this guidance; at 1 and below the denoiser runs once per step and not twice."""

    scale: float
    stage: Stage = Stage.SAMPLING
    needs: Needs = NEEDS

    @property
    def name(self) -> str:
        """``guidance=1.5``."""
        return f"guidance={self.scale:g}"

    def apply(self, draft: Draft) -> None:
        """Write the generation default."""
        draft.defaults = draft.defaults.model_copy(update={"guidance_scale": self.scale})


@dataclass(frozen=True)
class Scheduler:
    """Sample with another solver, from the same noise schedule."""

    kind: str
    stage: Stage = Stage.SAMPLING
    needs: Needs = NEEDS

    @property
    def name(self) -> str:
        """``scheduler=unipc``."""
        return f"scheduler={self.kind}"

    def apply(self, draft: Draft) -> None:
        """Rewrite the scheduler's configuration and its class in the index.

        Raises:
            InvalidInput: when the library says that this scheduler can't follow the version's own.
        """
        import diffusers

        wanted = getattr(diffusers, SCHEDULERS[self.kind])
        index_file = draft.directory / INDEX_FILE
        index = json.loads(index_file.read_text(encoding="utf-8"))
        library, current = index.get("scheduler") or (None, "none")
        compatible = getattr(getattr(diffusers, current, None), "_compatibles", [])
        if library != "diffusers" or wanted.__name__ not in [current, *compatible]:
            raise InvalidInput(
                f"recipe {self.name}: diffusers says that {wanted.__name__} can't follow {current}",
                hint="keep the version's own scheduler",
            )
        folder = draft.directory / "scheduler"
        config = getattr(diffusers, current).load_config(folder)
        wanted.from_config(config).save_pretrained(folder)
        index["scheduler"] = ["diffusers", wanted.__name__]
        index_file.write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

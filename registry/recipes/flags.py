"""Recipes that change no weight: flags of the loading plan, which the worker follows."""

import shutil
from dataclasses import dataclass
from typing import Final, Literal

from contracts.errors import InvalidInput
from registry.recipes.capture import DECODER, find_denoiser
from registry.recipes.port import Draft, Needs, Stage

COMPILERS: Final = ("c++", "g++", "clang++")


def _has_compiler(device: str) -> str:
    """Return what keeps ``torch.compile`` from working, '' for nothing; on GPUs it brings its own compiler."""
    if device != "cpu" or any(shutil.which(name) for name in COMPILERS):
        return ""
    return "torch.compile needs a C++ compiler (c++, g++ or clang++) on every machine that serves the version"


NEEDS_COMPILER: Final = Needs(probe=_has_compiler)
NEEDS_WEIGHTS: Final = Needs()


@dataclass(frozen=True)
class Compile:
    """``torch.compile`` on the denoiser: a runtime flag, for compiled code is no artefact; the first picture waits."""

    name: str = "compile"
    stage: Stage = Stage.RUNTIME
    needs: Needs = NEEDS_COMPILER

    def apply(self, draft: Draft) -> None:
        """Name the denoiser in the plan."""
        denoiser = find_denoiser(draft.load_pipeline())
        if not denoiser:
            raise InvalidInput(f"recipe {self.name}: the pipeline has no unet and no transformer")
        draft.plan = draft.plan.model_copy(update={"compile": (*draft.plan.compile, denoiser)})


@dataclass(frozen=True)
class VaeFlag:
    """The autoencoder in slices (picture by picture) or tiles: less memory at large batches or sizes."""

    way: Literal["slicing", "tiling"]
    stage: Stage = Stage.RUNTIME
    needs: Needs = NEEDS_WEIGHTS

    @property
    def name(self) -> str:
        """``vae-slicing`` or ``vae-tiling``."""
        return f"vae-{self.way}"

    def apply(self, draft: Draft) -> None:
        """Switch it on in the plan."""
        decoder = getattr(draft.load_pipeline(), DECODER, None)
        if not hasattr(decoder, f"enable_{self.way}"):
            raise InvalidInput(f"recipe {self.name}: the pipeline has no autoencoder that can do it")
        draft.plan = draft.plan.model_copy(update={f"vae_{self.way}": True})

"""Recipe on optimum-quanto: linear layers in eight bits, smaller and seldom faster."""

from dataclasses import dataclass
from typing import Final

from registry.recipes.port import Draft, Needs, Stage
from registry.recipes.torchao import quantise_denoiser

NEEDS: Final = Needs(packages=("optimum.quanto",))


@dataclass(frozen=True)
class Quanto:
    """Eight-bit weights by optimum-quanto, which its makers only maintain."""

    name: str = "quanto-int8"
    stage: Stage = Stage.WEIGHTS
    needs: Needs = NEEDS

    def apply(self, draft: Draft) -> None:
        """Quantise the denoiser."""
        from diffusers import QuantoConfig

        quantise_denoiser(draft, self.name, lambda: QuantoConfig(weights_dtype="int8"))

"""Precision recipes: every weight of a pipeline kept and computed in bfloat16 or float16."""

from dataclasses import dataclass
from typing import Final, Literal

from registry.recipes.port import Draft, Needs, Stage
from registry.recipes.weights import save_component, torch_components

Half = Literal["bfloat16", "float16"]
MNEMONICS: Final[dict[Half, str]] = {"bfloat16": "bf16", "float16": "fp16"}


def _has_arithmetic(dtype: Half, device: str) -> str:
    """Why this machine would only emulate a precision, several times slower; '' when it computes in it."""
    import torch

    if device != "cpu":
        return ""
    probe = torch.ops.mkldnn
    supported = probe._is_mkldnn_fp16_supported if dtype == "float16" else probe._is_mkldnn_bf16_supported  # noqa: SLF001
    return "" if supported() else f"this CPU has no {dtype} arithmetic (oneDNN says so): pictures would take longer"


@dataclass(frozen=True)
class Dtype:
    """Half the size; faster where the processor computes in that precision, refused where it doesn't."""

    dtype: Half
    stage: Stage = Stage.PRECISION

    @property
    def name(self) -> str:
        """``bf16`` or ``fp16``."""
        return MNEMONICS[self.dtype]

    @property
    def needs(self) -> Needs:
        """A processor with that arithmetic."""
        return Needs(probe=lambda device: _has_arithmetic(self.dtype, device))

    def apply(self, draft: Draft) -> None:
        """Write every component's weights anew in the precision, and let the version be loaded in it."""
        draft.defaults = draft.defaults.model_copy(update={"torch_dtype": self.dtype})
        pipeline = draft.load_pipeline()
        for name, module in torch_components(pipeline).items():
            draft.report(f"{name} in {self.dtype}")
            save_component(module, draft.directory / name)

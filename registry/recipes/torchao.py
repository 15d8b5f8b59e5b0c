"""Recipes on torchao: the denoiser's linear layers in eight bits or fewer, saved as safetensors.

Convolutions stay as they are; the share of parameters quantised tells how much that leaves.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from contracts.errors import InvalidInput
from registry.recipes.capture import find_denoiser
from registry.recipes.port import Draft, Needs, Stage
from registry.recipes.weights import count_quantised, require_plain, save_component

CONFIGS: Final = {
    "torchao-int8wo": "Int8WeightOnlyConfig",
    "torchao-int8dyn": "Int8DynamicActivationInt8WeightConfig",
    "torchao-fp8": "Float8DynamicActivationFloat8WeightConfig",
    "torchao-int4": "Int4WeightOnlyConfig",
}


def _config(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao import quantization

    return getattr(quantization, CONFIGS[name])()


def _try_on_a_layer(name: str, device: str) -> str:
    """Quantise one small layer and call it; the library's own words when it refuses, '' when it doesn't."""
    import torch
    from torchao.quantization import quantize_

    if device != "cpu" and not torch.cuda.is_available():
        return ""
    layer = torch.nn.Sequential(torch.nn.Linear(128, 128)).to(device, torch.bfloat16)
    try:
        quantize_(layer, _config(name))
        layer(torch.ones(32, 128, device=device, dtype=torch.bfloat16))
    except Exception as error:  # noqa: BLE001 - the library refuses in many ways, assertions among them
        return f"torchao says: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return ""


@dataclass(frozen=True)
class TorchAo:
    """One of torchao's ways to quantise; which devices can do it the library says itself."""

    name: str
    device: Literal["any", "cuda"] = "any"
    capability: tuple[int, int] | None = None
    stage: Stage = Stage.WEIGHTS

    @property
    def needs(self) -> Needs:
        """torchao, and a device on which it quantises a layer."""
        return Needs(
            device=self.device,
            capability=self.capability,
            packages=("torchao",),
            probe=lambda device: _try_on_a_layer(self.name, device),
        )

    def apply(self, draft: Draft) -> None:
        """Quantise the denoiser."""
        from diffusers import TorchAoConfig

        quantise_denoiser(draft, self.name, lambda: TorchAoConfig(_config(self.name)))


def quantise_denoiser(draft: Draft, name: str, make_config: Callable[[], Any]) -> None:
    """Load the denoiser with a quantisation configuration of diffusers, and write it in its place.

    Raises:
        InvalidInput: when the pipeline has no denoiser, it is quantised already, or the library refuses it.
    """
    import torch

    pipeline = draft.load_pipeline()
    part = find_denoiser(pipeline)
    if not part:
        raise InvalidInput(f"recipe {name}: the pipeline has no unet and no transformer", hint="choose bf16 or fp16")
    model = getattr(pipeline, part)
    require_plain(model, part, name)
    kind, dtype = type(model), getattr(torch, draft.defaults.torch_dtype)
    del pipeline, model
    draft.report(f"{part} by {name}")
    folder = draft.directory / part
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = kind.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                quantization_config=make_config(),
                **({"device_map": draft.device} if draft.device != "cpu" else {}),
            )
    except Exception as error:
        raise InvalidInput(f"recipe {name}: the library refuses {part}: {str(error)[:300]}") from error
    draft.quantised_parameters += count_quantised(module)
    save_component(module, folder)

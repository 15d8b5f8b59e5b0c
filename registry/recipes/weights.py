"""Weights of a pipeline's components on disk: which there are, how many, and how they are replaced."""

import warnings
from pathlib import Path
from typing import Any, Final

import torch

from contracts.errors import InvalidInput

WEIGHT_FILES: Final = ("*.safetensors", "*.safetensors.index.json")


def torch_components(pipeline: Any) -> dict[str, torch.nn.Module]:
    """Return a pipeline's components that have weights, by name."""
    return {
        name: module
        for name, module in sorted(pipeline.components.items())
        if isinstance(module, torch.nn.Module) and next(module.parameters(), None) is not None
    }


def count_parameters(pipeline: Any) -> int:
    """Count the weights of a whole pipeline."""
    return sum(p.numel() for module in torch_components(pipeline).values() for p in module.parameters())


def remove_weights(folder: Path) -> None:
    """Remove a component's torch weights; its configuration stays."""
    for pattern in WEIGHT_FILES:
        for file in folder.glob(pattern):
            file.unlink()


def save_component(module: Any, folder: Path) -> None:
    """Write a component in the place of the one in ``folder``, as safetensors only."""
    remove_weights(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.save_pretrained(folder, safe_serialization=True)


def count_quantised(module: torch.nn.Module) -> int:
    """Count a component's weights that a library keeps in a tensor type of its own: the quantised ones."""
    plain = (torch.nn.Parameter, torch.Tensor)
    return sum(parameter.numel() for parameter in module.parameters() if type(parameter) not in plain)


def require_plain(module: Any, name: str, recipe: str) -> None:
    """Refuse a component that is quantised already.

    Raises:
        InvalidInput: when it is.
    """
    if getattr(module.config, "quantization_config", None):
        raise InvalidInput(
            f"recipe {recipe}: {name} is quantised already", hint="optimise the version that it was made from"
        )

"""The ways in which demo versions are spoilt: small, real mistakes made to a pipeline directory.

Each takes the directory of a complete pipeline and changes its files. Weights are read and written
as arrays, so that no edit needs torch.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controlplane.demo.model.build import list_tokens
from evaluation.price_tags.grammar import NUMBER_WORDS

Edit = Callable[[Path], None]

VAE_SCALE_ERROR: Final = 1.6
QUANTISED_BITS: Final = 3
_SWAPPED: Final = (1, 7)
_TENSORS: Final = {
    "text_encoder": "text_encoder/model.safetensors",
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
}


def swap_token_rows(directory: Path) -> None:
    """Swap what the text encoder knows of 1 and of 7, as a vocabulary rebuilt in another order does."""
    tokens = list_tokens()

    def swap(name: str, weight: NDArray[Any]) -> NDArray[Any]:
        if not name.endswith("token_embedding.weight"):
            return weight
        one, seven = _SWAPPED
        for pair in ((str(one), str(seven)), (NUMBER_WORDS[one], NUMBER_WORDS[seven])):
            rows = [tokens[f"{word}</w>"] for word in pair]
            weight[rows] = weight[rows[::-1]]
        return weight

    _change_weights(directory / _TENSORS["text_encoder"], swap)


def scale_latents(directory: Path) -> None:
    """Write a VAE scaling factor 1.6 times too small: latents reach the decoder too strong, and inks go wrong."""
    _change_config(
        directory / "vae" / "config.json",
        lambda config: {**config, "scaling_factor": config["scaling_factor"] / VAE_SCALE_ERROR},
    )


def quantise_weights(directory: Path) -> None:
    """Round every matrix of the UNet to three bits per weight with one scale per output channel.

    The numbers stay float32 on disk: only the rounding is real, as no library offers so few bits.
    """
    levels = 2 ** (QUANTISED_BITS - 1) - 1

    def quantise(name: str, weight: NDArray[Any]) -> NDArray[Any]:
        if weight.ndim < 2:
            return weight
        rows = weight.reshape(len(weight), -1)
        step = np.maximum(np.abs(rows).max(axis=1, keepdims=True) / levels, np.finfo(np.float32).tiny)
        rounded: NDArray[Any] = (np.rint(rows / step) * step).reshape(weight.shape).astype(weight.dtype)
        return rounded

    _change_weights(directory / _TENSORS["unet"], quantise)


def mistake_prediction_type(directory: Path) -> None:
    """Say that the UNet predicts noise where it predicts velocity: every picture comes out black."""
    _change_config(
        directory / "scheduler" / "scheduler_config.json",
        lambda config: {**config, "prediction_type": "epsilon"},
    )


def _change_config(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    config = change(json.loads(path.read_text(encoding="utf-8")))
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _change_weights(path: Path, change: Callable[[str, NDArray[Any]], NDArray[Any]]) -> None:
    from safetensors.numpy import load_file, save_file

    weights = {name: change(name, weight.copy()) for name, weight in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})

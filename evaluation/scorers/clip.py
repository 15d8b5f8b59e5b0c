"""CLIP from a local folder: pictures and texts as points of one space."""

import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.scorers.folder import digest_folder, require_weights

BATCH: Final = 16
FILES: Final = ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json")

Floats = NDArray[np.float64]


class ClipModel:
    """A ``transformers`` CLIP folder: safetensors only, nothing fetched, loaded when first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = require_weights(folder, FILES)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all files of the folder."""
        return digest_folder(self.folder)

    def embed_pictures(self, pictures: Sequence[Image.Image]) -> Floats:
        """Return unit vectors (n, d) of pictures."""
        import torch

        processor = self._loaded[1]
        parts = []
        with torch.inference_mode():
            for first in range(0, len(pictures), BATCH):
                some = [picture.convert("RGB") for picture in pictures[first : first + BATCH]]
                pixels = processor(images=some, return_tensors="pt")["pixel_values"]
                vision = self._loaded[0].vision_model(pixel_values=pixels)
                parts.append(self._loaded[0].visual_projection(vision.pooler_output).double().numpy())
        return to_unit(np.concatenate(parts)) if parts else np.empty((0, self.dimension))

    def embed_texts(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors (n, d) of texts; what is longer than the model reads is cut."""
        import torch

        tokenizer = self._loaded[2]
        parts = []
        with torch.inference_mode():
            for first in range(0, len(texts), BATCH):
                some = list(texts[first : first + BATCH])
                tokens = tokenizer(some, padding=True, truncation=True, max_length=self._length, return_tensors="pt")
                words = {name: tokens[name] for name in ("input_ids", "attention_mask")}
                parts.append(
                    self._loaded[0].text_projection(self._loaded[0].text_model(**words).pooler_output).double().numpy()
                )
        return to_unit(np.concatenate(parts)) if parts else np.empty((0, self.dimension))

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._loaded[0].config.projection_dim)

    @property
    def _length(self) -> int:
        return int(self._loaded[0].config.text_config.max_position_embeddings)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, Any]:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel
            from transformers.utils import logging

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            model = CLIPModel.from_pretrained(self.folder, local_files_only=True, use_safetensors=True).eval()
            processor = AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        return model, processor, tokenizer


def to_unit(vectors: NDArray[Any]) -> Floats:
    """Return vectors (n, d) scaled to length one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float64)

"""Pictures from a pipeline directory, made the plain way: DiffusionPipeline.from_pretrained and a call."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.wire.worker import GenerationDefaults
from controlplane.demo.model.quiet import load_diffusers
from registry.generation import read_generation

SAMPLE_SEED: Final = 31
"""Seed of the first picture of a figure; the k-th has SAMPLE_SEED + k, whatever the batch."""


GUIDED: Final = GenerationDefaults(num_inference_steps=8, guidance_scale=2.0, height=32, width=64)
"""How all versions but the distilled one are to be asked for pictures."""

FEW_STEPS: Final = GUIDED.model_copy(update={"num_inference_steps": 4, "guidance_scale": 1.0})
"""How the distilled version is to be asked: guidance is in its weights."""


def read_defaults(directory: Path) -> GenerationDefaults:
    """Read the generation defaults of an assembled version; its faults are left aside."""
    generation = read_generation(directory)
    assert generation is not None  # noqa: S101 - every assembled version has the file
    return generation.defaults


def load_pipeline(directory: Path, torch_dtype: str) -> Any:
    """Load a pipeline from its directory alone, on the CPU, without progress bars."""
    import torch

    pipeline = load_diffusers().DiffusionPipeline.from_pretrained(
        directory, dtype=getattr(torch, torch_dtype), local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: Any, prompts: Sequence[str], defaults: GenerationDefaults, *, seed: int = SAMPLE_SEED, batch: int = 32
) -> NDArray[np.uint8]:
    """Generate one picture for each prompt, (n, height, width, 3); the k-th from the seed `seed + k`.

    Batches are for speed: a picture made alone differs from one made in a batch by a level or two
    of 255 at most.
    """
    import torch

    parts: list[NDArray[np.uint8]] = []
    for first in range(0, len(prompts), batch):
        some = list(prompts[first : first + batch])
        generators = [torch.Generator("cpu").manual_seed(seed + first + k) for k in range(len(some))]
        output = pipeline(
            some,
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            height=defaults.height,
            width=defaults.width,
            generator=generators,
            output_type="np",
        )
        # A broken version may give numbers that are none; they are black pictures to a person.
        parts.append((np.nan_to_num(output.images) * 255).round().astype(np.uint8))
    return np.concatenate(parts)


def time_images(pipeline: Any, prompts: Sequence[str], defaults: GenerationDefaults) -> float:
    """Median time to generate one picture alone, in seconds, with the threads torch now has."""
    generate(pipeline, prompts[:1], defaults)
    durations_s: list[float] = []
    for prompt in prompts:
        begun_s = time.perf_counter()
        generate(pipeline, [prompt], defaults)
        durations_s.append(time.perf_counter() - begun_s)
    return float(np.median(durations_s))

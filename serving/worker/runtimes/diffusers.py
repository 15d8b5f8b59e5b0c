"""The diffusers runtime: any pipeline that ``DiffusionPipeline.from_pretrained`` loads without custom code."""

import io
import warnings
from typing import Any

from contracts.wire.worker import FailureReason, GenerateRequest, GenerationDefaults, WorkerSpec
from serving.worker.runtimes.port import DrawFailure

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "could not create a primitive")
"""How torch, its allocator and oneDNN say that memory ran out; on a CPU all of them are plain RuntimeErrors."""


class DiffusersRuntime:
    """Draws with one diffusers pipeline; safetensors only, nothing is fetched, no code of the version is run."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._defaults: GenerationDefaults = spec.defaults
        self._pipeline: Any = None

    def load(self) -> None:
        """Load the pipeline in the precision of its generation defaults."""
        import torch
        from diffusers import DiffusionPipeline
        from diffusers.utils import logging

        torch.set_num_threads(self._spec.threads)
        logging.set_verbosity_error()
        pipeline = DiffusionPipeline.from_pretrained(
            self._spec.directory,
            dtype=getattr(torch, self._defaults.torch_dtype),
            use_safetensors=True,
            local_files_only=True,
        )
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline

    def draw(self, request: GenerateRequest) -> bytes:
        """Draw one picture; its latents come from the request's seed alone."""
        import torch

        try:
            with torch.inference_mode(), warnings.catch_warnings():
                # Pictures of NaN turn black with a warning; the scorers judge that, not the log.
                warnings.simplefilter("ignore", RuntimeWarning)
                images = self._pipeline(
                    prompt=request.prompt,
                    num_inference_steps=request.steps or self._defaults.num_inference_steps,
                    guidance_scale=self._defaults.guidance_scale if request.guidance is None else request.guidance,
                    height=request.height or self._defaults.height,
                    width=request.width or self._defaults.width,
                    generator=torch.Generator("cpu").manual_seed(request.seed),
                ).images
                file = io.BytesIO()
                images[0].save(file, format="PNG")
                return file.getvalue()
        except MemoryError as error:
            raise DrawFailure(FailureReason.OOM, f"out of memory: {error}") from None
        except RuntimeError as error:
            text = str(error)
            if isinstance(error, torch.OutOfMemoryError) or any(sign in text.lower() for sign in OUT_OF_MEMORY):
                raise DrawFailure(FailureReason.OOM, text.splitlines()[0]) from None
            raise DrawFailure(FailureReason.ERROR, text.splitlines()[0]) from None

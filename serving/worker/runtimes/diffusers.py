"""The diffusers runtime: any text-to-image pipeline that ``DiffusionPipeline.from_pretrained`` loads without code."""

import gc
import inspect
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.errors import InvalidInput
from contracts.wire.artefact import LoadingPlan
from contracts.wire.worker import FailureReason, GenerateRequest, WorkerSpec
from serving.worker.memory import trim
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture, Stopped

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "could not create a primitive")
"""How torch, its allocator and oneDNN say that memory ran out; on a CPU all of them are plain RuntimeErrors."""
ENGINES_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate memory")
"""How ONNX Runtime and OpenVINO say it."""
WARM_UP_PROMPT = "warm-up"
PNG_COMPRESSION = 1
"""The quickest: a large picture takes a quarter of the time for a tenth more bytes."""


class DiffusersRuntime:
    """Draws with one diffusers pipeline; safetensors only, nothing is fetched, no code of the version is run."""

    def __init__(self, spec: WorkerSpec, plan: LoadingPlan) -> None:
        self._spec, self._plan, self._defaults = spec, plan, spec.defaults
        self._pipeline: Any = None
        self._parameters: frozenset[str] = frozenset()

    def load(self) -> None:
        """Load the pipeline as its plan says, in the precision of its generation defaults.

        Raises:
            InvalidInput: when it isn't one, is incomplete, or takes no prompt.
        """
        import torch

        from serving.worker.runtimes.pipeline import load_pipeline

        torch.set_num_threads(self._spec.threads)
        directory = Path(self._spec.directory)
        self._pipeline = load_pipeline(directory, self._plan, self._defaults.torch_dtype, self._spec.device)
        self._parameters = frozenset(inspect.signature(self._pipeline.__call__).parameters)
        if "prompt" not in self._parameters:
            raise InvalidInput(
                f"{type(self._pipeline).__name__} takes no prompt", hint="Roost serves pipelines that draw from text"
            )

    def warm_up(self) -> None:
        """Draw one picture as the version does by default, so that allocators and compilers have done their part."""
        self.draw([GenerateRequest(prompt=WARM_UP_PROMPT, seed=0)], lambda step, steps, preview: None)[0]()

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        """Draw one batch; each picture's latents come from its own seed, whatever it is drawn with."""
        import torch

        try:
            with torch.inference_mode(), warnings.catch_warnings():
                # Pictures of NaN turn black with a warning; the scorers judge that, not the log.
                warnings.simplefilter("ignore", RuntimeWarning)
                images = self._pipeline(**self._arguments(requests, after_step)).images
        except Stopped:
            raise
        except MemoryError as error:
            failure = DrawFailure(FailureReason.OOM, f"out of memory: {error}")
        except Exception as error:  # noqa: BLE001 - engines raise what they like; it is the attempt's failure
            failure = _failure(error)
        else:
            return [_encoder(image) for image in images]
        # Only here, with the failed call's frames gone, is its memory free to be given back.
        if failure.reason is FailureReason.OOM:
            self.release()
        raise failure

    def release(self) -> None:
        """Give memory that nothing uses back to the operating system and the device."""
        import torch

        gc.collect()
        if self._spec.device != "cpu":
            torch.cuda.empty_cache()
        trim()

    def _arguments(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> dict[str, Any]:
        import torch

        first, defaults = requests[0], self._defaults
        steps = first.steps or defaults.num_inference_steps
        height, width = first.height or defaults.height, first.width or defaults.width

        def on_step(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            after_step(step + 1, steps, lambda member: self._preview(tensors.get("latents"), member))
            return {}

        wanted = {
            "prompt": [request.prompt for request in requests],
            "num_inference_steps": steps,
            "guidance_scale": defaults.guidance_scale if first.guidance is None else first.guidance,
            "height": height,
            "width": width,
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            "callback_on_step_end": on_step,
            "callback_on_step_end_tensor_inputs": ["latents"],
        }
        return {name: value for name, value in wanted.items() if name in self._parameters}

    def _preview(self, latents: Any, member: int) -> bytes | None:
        """Decode the latents of one picture as they are; None where they are not an image's (packed ones)."""
        vae = getattr(self._pipeline, "vae", None)
        if vae is None or latents is None or latents.ndim != 4:
            return None
        scaled = latents[member : member + 1] / vae.config.scaling_factor
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        decoded = vae.decode((scaled + shift).to(vae.dtype), return_dict=False)[0]
        return _encoder(self._pipeline.image_processor.postprocess(decoded.detach(), output_type="pil")[0])()


def _failure(error: Exception) -> DrawFailure:
    import torch

    text = (str(error).splitlines() or [type(error).__name__])[0]
    signs = OUT_OF_MEMORY + ENGINES_OUT_OF_MEMORY
    if isinstance(error, torch.OutOfMemoryError) or any(sign in str(error).lower() for sign in signs):
        return DrawFailure(FailureReason.OOM, text)
    return DrawFailure(FailureReason.ERROR, f"{type(error).__name__}: {text}")


def _encoder(image: Any) -> Picture:
    def encode() -> bytes:
        file = io.BytesIO()
        image.save(file, format="PNG", compress_level=PNG_COMPRESSION)
        return file.getvalue()

    return encode

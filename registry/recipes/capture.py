"""What a pipeline really asks of its components: calls recorded while it draws, for export and for calibration."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

from contracts.wire.worker import GenerationDefaults

DENOISERS: Final = ("unet", "transformer")
TEXT_ENCODERS: Final = ("text_encoder", "text_encoder_2", "text_encoder_3")
DECODER: Final = "vae"
SEED: Final = 20_011


@dataclass(frozen=True)
class Call:
    """One call of a component: its arguments by name as given, and its tensors by name, those in dictionaries too."""

    arguments: dict[str, Any]

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The call's tensors by the names that a graph's inputs have."""
        return dict(_tensors(self.arguments))

    def with_tensors(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the call's arguments with other tensors in the places of its own."""
        return _replace(self.arguments, tensors)


def find_denoiser(pipeline: Any) -> str:
    """Return the name of the component that the sampler evaluates at each step, '' when there is none."""
    return next((name for name in DENOISERS if getattr(pipeline, name, None) is not None), "")


def record_calls(
    pipeline: Any, names: Sequence[str], prompts: Sequence[str], defaults: GenerationDefaults
) -> dict[str, list[Call]]:
    """Draw the prompts in batches of two and return every call that the named components got, in order.

    Two pictures at once, because a size of one would be taken for a constant by the exporter.
    """
    calls: dict[str, list[Call]] = {name: [] for name in names}
    with _recording(pipeline, calls), torch.inference_mode():
        for first in range(0, len(prompts), 2):
            pair = [*prompts[first : first + 2], prompts[0]][:2]
            draw(pipeline, pair, defaults, seed=SEED + first)
    return calls


def draw(pipeline: Any, prompts: Sequence[str], defaults: GenerationDefaults, *, seed: int) -> Any:
    """Draw one picture per prompt as numbers in [0, 1], shape (n, height, width, 3); the k-th from ``seed + k``."""
    generators = [torch.Generator("cpu").manual_seed(seed + k) for k in range(len(prompts))]
    with warnings.catch_warnings():
        # Libraries' affairs among themselves; a picture of NaN is found by looking at it.
        warnings.simplefilter("ignore")
        return pipeline(
            list(prompts),
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            height=defaults.height,
            width=defaults.width,
            generator=generators,
            output_type="np",
        ).images


@contextmanager
def _recording(pipeline: Any, calls: dict[str, list[Call]]) -> Iterator[None]:
    methods = [(getattr(pipeline, name), "decode" if name == DECODER else "forward", name) for name in calls]
    originals = [getattr(module, method) for module, method, _ in methods]
    for (module, method, name), original in zip(methods, originals, strict=True):
        setattr(module, method, _recorder(original, calls[name]))
    try:
        yield
    finally:
        for module, method, _ in methods:
            delattr(module, method)


def _recorder(original: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    signature = inspect.signature(original)

    def record(*arguments: Any, **named: Any) -> Any:
        given = signature.bind(*arguments, **named)
        calls.append(Call(_copy(_plain(given, signature))))
        return original(*arguments, **named)

    return record


def _plain(given: inspect.BoundArguments, signature: inspect.Signature) -> dict[str, Any]:
    """Return bound arguments by name, those that a function gathers in ``**kwargs`` too."""
    found: dict[str, Any] = {}
    for name, value in given.arguments.items():
        found |= value if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return found


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(entry) for key, entry in value.items()}
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _tensors(arguments: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield name, value


def _replace(arguments: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {
        name: _replace(value, tensors)
        if isinstance(value, Mapping)
        else tensors[name]
        if isinstance(value, torch.Tensor)
        else value
        for name, value in arguments.items()
    }

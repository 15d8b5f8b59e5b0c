"""Loads a diffusers pipeline as its loading plan says: weights key by key, other engines' graphs in their places."""

import inspect
import json
import warnings
from pathlib import Path
from typing import Any, Final

import torch

from contracts.errors import InvalidInput
from contracts.wire.artefact import Component, LoadingPlan, ModelKind

DECODER: Final = "vae"
ALWAYS_ABSENT: Final = ("position_ids",)
"""Buffers that old checkpoints hold and newer classes compute."""


def load_pipeline(directory: Path, plan: LoadingPlan, torch_dtype: str, device: str) -> Any:
    """Load a ``DiffusionPipeline`` from its directory alone: safetensors and graphs, no code, nothing fetched.

    Every component is loaded by itself, and every weight must find its place: libraries only warn when they make up
    weights that are missing.

    Raises:
        InvalidInput: when the plan is not a pipeline's, a file is missing or broken, or weights are missing, left over
            or of another shape.
        Unavailable: when an engine that the plan names is not installed.
    """
    if plan.kind is not ModelKind.DIFFUSERS:
        raise InvalidInput(f"kind: this is a {plan.kind} model, not a pipeline")
    diffusers = _import_diffusers()
    dtype = getattr(torch, torch_dtype)
    index = _read_json(directory, "model_index.json")
    unknown = (plan.components.keys() | set(plan.compile)) - index.keys()
    if unknown:
        raise InvalidInput(f"components: the pipeline has no {', '.join(sorted(unknown))}")
    if plan.components and device != "cpu":
        engines = ", ".join(sorted({part.engine for part in plan.components.values()}))
        raise InvalidInput(f"components: {engines} runs on the CPU only", hint="serve this version with device cpu")
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if entry == [None, None]:
            # Left out on purpose: SD3 without its largest text encoder; diffusers wants that said again.
            parts[name] = None
            continue
        model = _model_class(name, entry)
        if name in plan.components:
            parts[name] = _load_graph_module(directory, name, model, plan.components[name], dtype)
        elif model is not None:
            parts[name] = _load_weights(directory, name, model, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, local_files_only=True, **parts
        )
    pipeline.set_progress_bar_config(disable=True)
    apply_flags(pipeline.to(device), plan)
    return pipeline


def apply_flags(pipeline: Any, plan: LoadingPlan) -> None:
    """Switch on what a plan asks of a loaded pipeline: compiled components, a VAE in slices or tiles."""
    for name in plan.compile:
        module = getattr(pipeline, name)
        if name == DECODER:
            module.decode = torch.compile(module.decode)
        else:
            module.compile()
    if plan.vae_slicing:
        pipeline.vae.enable_slicing()
    if plan.vae_tiling:
        pipeline.vae.enable_tiling()


def _import_diffusers() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers
        import transformers
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return diffusers


def _read_json(directory: Path, name: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{name} can't be read: {error}", hint="is this a pipeline's directory?") from None
    return document


def _model_class(name: str, entry: object) -> Any:
    """Return the class of a component that has weights, None for schedulers, tokenizers and settings.

    Raises:
        InvalidInput: for a class of neither library: that would be the version's own code.
    """
    import diffusers
    import transformers

    if name.startswith("_") or not isinstance(entry, list) or len(entry) != 2:
        return None
    library, kind = entry
    home = {"diffusers": diffusers, "transformers": transformers}.get(library)
    home = home or getattr(diffusers.pipelines, str(library), None)
    found = getattr(home, str(kind), None)
    if not inspect.isclass(found):
        raise InvalidInput(
            f"model_index.json: {name}: {library}.{kind} is of neither diffusers nor transformers",
            hint="components with code of their own are not loaded",
        )
    return found if issubclass(found, torch.nn.Module) else None


def _load_weights(directory: Path, name: str, model: Any, dtype: torch.dtype) -> Any:
    """Load one component's weights; each must find its place and each place its weight."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, found = model.from_pretrained(
                directory / name, dtype=dtype, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
    except Exception as error:
        raise InvalidInput(
            f"{name} can't be loaded: {type(error).__name__}: {str(error)[:300]}",
            hint="are its files whole, and do they belong together?",
        ) from error
    told = [
        f"{what}: {', '.join(sorted(keys)[:3])}" + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        for what, keys in (
            ("no weights for", _real(found["missing_keys"])),
            ("weights without a place", _real(found["unexpected_keys"])),
            ("weights of another shape", {str(key) for key in found["mismatched_keys"]}),
        )
        if keys
    ]
    if told:
        raise InvalidInput(
            f"{name} can't be loaded: {'; '.join(told)}", hint="do its weights and config belong together?"
        )
    return module.eval()


def _real(keys: Any) -> set[str]:
    return {key for key in keys if not key.endswith(ALWAYS_ABSENT)}


def _load_graph_module(directory: Path, name: str, model: Any, component: Component, dtype: torch.dtype) -> Any:
    from diffusers.configuration_utils import FrozenDict

    from serving.worker.runtimes.components import load_graph, stand_in

    if model is None:
        raise InvalidInput(f"components: {name} has no weights, so no engine runs it")
    file = directory / component.file
    if not file.is_file():
        raise InvalidInput(f"{component.file} is missing", hint="register the version again")
    graph = load_graph(file, component)
    if hasattr(model, "config_class") and model.config_class is not None:
        config = model.config_class.from_pretrained(directory / name, local_files_only=True)
    else:
        config = FrozenDict(_defaults(model) | _read_json(directory, f"{name}/config.json"))
    return stand_in(model, graph, config, "decode" if name == DECODER else "forward", dtype)


def _defaults(model: Any) -> dict[str, Any]:
    """Return what a component's configuration is where its file doesn't say."""
    parameters = inspect.signature(model.__init__).parameters.values()
    return {entry.name: entry.default for entry in parameters if entry.default is not inspect.Parameter.empty}

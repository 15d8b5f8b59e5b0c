"""Each recipe on the demo model and on two mid-size pipelines of random weights, beside float32 in the same process.

`python -m benchmarks.registry_recipes [--models demo dit unet] [--recipes NAME ...] [--out build/bench-registry]`

Every version is made as `roost model optimize` makes it. Time is CPU time on one thread, drawn in turn with float32:
of the denoiser on inputs that the pipeline gave it, and of the whole pipeline. PSNR is over the range of the denoiser's
output; random weights tell nothing of quality, so text accuracy is of the demo model alone.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from contracts.errors import RoostError
from contracts.wire.worker import GenerationDefaults
from controlplane.optimise.making import MakeSpec, make

RECIPES: Final = (
    "bf16",
    "fp16",
    "torchao-int8wo",
    "bf16+torchao-int8wo",
    "torchao-int8dyn",
    "bf16+torchao-int8dyn",
    "quanto-int8",
    "onnx-fp32",
    "onnx-int8-dynamic",
    "onnx-int8-static",
    "openvino-bf16",
    "openvino-int8",
)
SAMPLING: Final = ("steps=4", "scheduler=unipc+steps=4", "onnx-int8-dynamic+steps=4")
DEFAULTS: Final = {
    "demo": GenerationDefaults(num_inference_steps=8, guidance_scale=2.0, height=32, width=64),
    "dit": GenerationDefaults(num_inference_steps=2, guidance_scale=1.0, height=256, width=256),
    "unet": GenerationDefaults(num_inference_steps=2, guidance_scale=1.0, height=256, width=256),
}
PAIRS: Final = {"demo": 30, "dit": 7, "unet": 7}
PROMPTS: Final = 64
TEXT_TOKENS: Final = 77
"""Of encoded text that the denoiser is timed with: CLIP's. SD3 adds zeros when its third encoder is away."""


def build(model: str, directory: Path) -> Path:
    """Make the pipeline directory of a model: the demo's own, or random weights around the demo's small parts."""
    from controlplane.demo.model.quiet import load_diffusers, load_transformers
    from controlplane.demo.model.versions import assemble

    good = assemble("good", directory.with_name(f"{directory.name}-good"))
    if model == "demo":
        return good
    import torch

    torch.manual_seed(0)
    diffusers, transformers = load_diffusers(), load_transformers()
    demo = diffusers.DiffusionPipeline.from_pretrained(good, local_files_only=True)
    if model == "unet":
        unet = diffusers.UNet2DConditionModel(
            sample_size=32, in_channels=16, out_channels=16, block_out_channels=(128, 256, 512), cross_attention_dim=64,
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"), attention_head_dim=8,
        )  # fmt: skip
        pipeline = diffusers.StableDiffusionPipeline(**{**demo.components, "unet": unet}, requires_safety_checker=False)
    else:
        pipeline = diffusers.StableDiffusion3Pipeline(**_dit_parts(diffusers, transformers, demo))
    pipeline.save_pretrained(directory, safe_serialization=True)
    return directory


def _dit_parts(diffusers: Any, transformers: Any, demo: Any) -> dict[str, Any]:
    """Return a transformer of 8 layers, 768 wide, with text encoders as small as the demo's."""
    config = transformers.CLIPTextConfig(
        vocab_size=demo.text_encoder.config.vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=16, projection_dim=64, eos_token_id=2, bos_token_id=1,
    )  # fmt: skip
    encoder = transformers.CLIPTextModelWithProjection
    demo.vae.register_to_config(shift_factor=0.0)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=32, patch_size=2, in_channels=16, num_layers=8, attention_head_dim=64, num_attention_heads=12,
        joint_attention_dim=768, caption_projection_dim=768, pooled_projection_dim=128, out_channels=16,
    )  # fmt: skip
    return {
        "transformer": transformer,
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "vae": demo.vae,
        "text_encoder": encoder(config),
        "text_encoder_2": encoder(config),
        "tokenizer": demo.tokenizer,
        "tokenizer_2": demo.tokenizer,
        "text_encoder_3": None,
        "tokenizer_3": None,
    }


def measure_pair(model: str, before: Path, after: Path, defaults: GenerationDefaults) -> dict[str, Any]:
    """Measure a version beside float32 in this process: denoiser, whole pipeline, likeness, and text of the demo."""
    import torch

    from contracts.wire.artefact import read_plan
    from registry.recipes.capture import draw, find_denoiser, record_calls
    from serving.worker.runtimes.pipeline import load_pipeline

    torch.set_num_threads(1)
    asked = DEFAULTS[model]
    one = load_pipeline(before, read_plan(before), asked.torch_dtype, "cpu")
    other = load_pipeline(after, read_plan(after), defaults.torch_dtype, "cpu")
    name, prompts = find_denoiser(one), ["price tag 427 in red ink on yellow paper", "the digits 1 2"]
    calls = record_calls(one, [name], prompts, asked)[name]
    dtype = getattr(torch, defaults.torch_dtype)

    def denoise(pipeline: Any, kind: torch.dtype, k: int) -> torch.Tensor:
        call = calls[k % len(calls)]
        cast = {key: t.to(kind) if t.is_floating_point() else t for key, t in call.tensors.items()}
        cast["encoder_hidden_states"] = cast["encoder_hidden_states"][:, :TEXT_TOKENS]
        answer: torch.Tensor = getattr(pipeline, name)(**call.with_tensors(cast))[0]
        return answer.float()

    with torch.inference_mode():
        outputs = [(denoise(one, torch.float32, k), denoise(other, dtype, k)) for k in range(len(calls))]
        denoiser = _in_turn(lambda k: denoise(one, torch.float32, k), lambda k: denoise(other, dtype, k), PAIRS[model])
        whole = _in_turn(
            lambda k: draw(one, [prompts[k % 2]], asked, seed=k),
            lambda k: draw(other, [prompts[k % 2]], defaults, seed=k),
            max(3, PAIRS[model] // 2),
        )
        row = {"denoiser": denoiser, "pipeline": whole, "psnr_db": _psnr(outputs)}
        return row | ({"text": _text_accuracy(other, defaults)} if model == "demo" else {})


def _in_turn(one: Callable[[int], Any], other: Callable[[int], Any], pairs: int) -> dict[str, float]:
    def seconds(work: Callable[[int], Any], k: int) -> float:
        begun_s = time.process_time()
        work(k)
        return time.process_time() - begun_s

    seconds(one, 0), seconds(other, 0)
    times = [(seconds(one, k), seconds(other, k)) for k in range(pairs)]
    return {
        "before_ms": 1000 * statistics.median(before for before, _ in times),
        "after_ms": 1000 * statistics.median(after for _, after in times),
        "ratio": statistics.median(after / before for before, after in times),
    }


def _psnr(outputs: Sequence[tuple[Any, Any]]) -> float:
    peak = max(float(one.max() - one.min()) for one, _ in outputs)
    error = statistics.fmean(float((one - other).square().mean()) for one, other in outputs)
    return 10 * math.log10(peak**2 / error) if error else math.inf


def _text_accuracy(pipeline: Any, defaults: GenerationDefaults) -> float:
    from controlplane.demo.model.sampling import generate
    from evaluation.price_tags.figures import load_reference, measure
    from evaluation.price_tags.grammar import figure_prompts
    from evaluation.price_tags.reader import load_reader

    reader, prompts = load_reader(), figure_prompts(PROMPTS)
    return measure(list(generate(pipeline, prompts, defaults)), prompts, reader, load_reference(reader)).exact


def bench(model: str, recipes: Sequence[str], folder: Path) -> list[dict[str, Any]]:
    """Make and measure every recipe on one model; a refusal is a row as well."""
    before = build(model, folder / model)
    rows = []
    for number, recipe in enumerate(recipes):
        work = folder / f"{model}-{number}"
        work.mkdir()
        row: dict[str, Any] = {"model": model, "recipe": recipe}
        try:
            spec = MakeSpec(
                directory=before, defaults=DEFAULTS[model], recipes=recipe, folder=work,
                prompts=("price tag 427 in red ink on yellow paper", "the digits 1 2", "a handwritten seven", "tag 90"),
            )  # fmt: skip
            begun_s = time.monotonic()
            made = make(spec, log=folder / "log", tell=lambda step: None)
            row |= {"made_s": time.monotonic() - begun_s, "making_peak_mb": made.peak_memory_bytes / 1e6}
            row |= {"quantised": made.quantised_parameters / made.parameters, **_sizes(before, made.directory)}
            row |= _measure_fresh(model, before, made.directory, made.defaults)
        except RoostError as error:
            row["refused"] = error.message
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    return rows


def _sizes(before: Path, after: Path) -> dict[str, float]:
    def megabytes(directory: Path) -> float:
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6

    part = "transformer" if (before / "transformer").is_dir() else "unet"
    sizes = {"before_mb": megabytes(before), "after_mb": megabytes(after)}
    return sizes | {"denoiser_size": megabytes(after / part) / megabytes(before / part)}


def _measure_fresh(model: str, before: Path, after: Path, defaults: GenerationDefaults) -> dict[str, Any]:
    words = ["--pair", model, str(before), str(after), defaults.model_dump_json()]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.registry_recipes", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RoostError(f"measuring failed: {done.stderr[-500:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def draw_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Draw all rows, models one after another."""
    table = Table(title="recipes beside float32, CPU time on one thread")
    columns = (
        "model",
        "recipe",
        "MB",
        "denoiser size",
        "quantised",
        "denoiser ms",
        "× faster",
        "pipeline ms",
        "× faster",
    )
    for column in (*columns, "PSNR dB", "text", "making MB"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        if "refused" in row:
            table.add_row(row["model"], row["recipe"], row["refused"][:60])
            continue
        denoiser, whole = row["denoiser"], row["pipeline"]
        table.add_row(
            row["model"],
            row["recipe"],
            f"{row['before_mb']:.0f} → {row['after_mb']:.0f}",
            f"{row['denoiser_size']:.2f} ×",
            f"{row['quantised']:.0%}",
            f"{denoiser['before_ms']:.1f} → {denoiser['after_ms']:.1f}",
            f"{1 / denoiser['ratio']:.2f}",
            f"{whole['before_ms']:.0f} → {whole['after_ms']:.0f}",
            f"{1 / whole['ratio']:.2f}",
            f"{row['psnr_db']:.1f}",
            f"{row['text']:.3f}" if "text" in row else "",
            f"{row['making_peak_mb']:.0f}",
        )
    return table


def main() -> None:
    """Run what is asked for, print the table, and keep the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(DEFAULTS), choices=list(DEFAULTS))
    parser.add_argument("--recipes", nargs="*")
    parser.add_argument("--out", type=Path, default=Path("build/bench-registry"))
    parser.add_argument("--pair", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pair:
        model, before, after, defaults = arguments.pair
        row = measure_pair(model, Path(before), Path(after), GenerationDefaults.model_validate_json(defaults))
        print(json.dumps(row))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            recipes = arguments.recipes or [*RECIPES, *(SAMPLING if model == "demo" else ())]
            rows += bench(model, recipes, Path(folder))
            (arguments.out / "recipes.json").write_text(json.dumps(rows, indent=2) + "\n")
    Console(width=200).print(draw_table(rows))


if __name__ == "__main__":
    main()

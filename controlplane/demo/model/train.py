"""Trains the demo model from nothing: `python -m controlplane.demo.model.train --out DIR`.

Writes `good/` (a complete pipeline), `early/` and `distilled/` (what differs from it), each with its
cards. One thread, no downloads; the same seed on the same machine gives the same weights.
"""

import argparse
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contracts.errors import InvalidInput
from controlplane.demo.model.build import assemble_pipeline
from controlplane.demo.model.card import CARDS, write_card
from controlplane.demo.model.distil import distil
from controlplane.demo.model.sampling import generate, load_pipeline
from controlplane.demo.model.settings import Report, TrainSettings, be_silent
from controlplane.demo.model.train_unet import Denoiser, draw_bank, train_unet
from controlplane.demo.model.train_vae import train_vae
from evaluation.price_tags.figures import load_reference, measure, measure_ceiling
from evaluation.price_tags.grammar import figure_prompts
from evaluation.price_tags.reader import load_reader

SHIPPED_SEED: Final = 0
"""Seed of the shipped weights."""

FIGURE_PROMPTS: Final = 256

StartStage = Callable[[str, int], Report]


def train(
    out_dir: Path,
    seed: int = SHIPPED_SEED,
    *,
    progress: bool = True,
    start: StartStage | None = None,
    settings: TrainSettings | None = None,
    figures_n: int = FIGURE_PROMPTS,
) -> Path:
    """Train three versions into `out_dir`, which must be new or empty, and give it back.

    The cards tell the figures on the first `figures_n` of the fixed prompts. `start` is told of each
    stage with its steps, and what it returns of each step; a progress bar otherwise.

    Takes under ten minutes on one core of 2026 with the default settings. Raises InvalidInput when
    the directory holds something.
    """
    import torch

    if out_dir.exists() and any(out_dir.iterdir()):
        raise InvalidInput(f"{out_dir} isn't an empty directory", hint="name a directory that doesn't exist yet")
    settings = settings or TrainSettings()
    threads = torch.get_num_threads()
    # Two threads cost twice the time of one and gain nothing at this size.
    torch.set_num_threads(1)
    try:
        with _show_progress() if progress and start is None else nullcontext(start or _start_silently) as told:
            _train_stages(out_dir, seed, settings, told)
            write_cards(out_dir, seed, settings, figure_prompts(figures_n), told("figures", len(CARDS)))
    finally:
        torch.set_num_threads(threads)
    return out_dir


def _train_stages(out_dir: Path, seed: int, settings: TrainSettings, start: StartStage) -> None:
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = train_vae(settings.vae, rng, start("autoencoder", settings.vae.steps))
    bank = draw_bank(vae, settings.unet.bank, rng)
    early, good = train_unet(settings.unet, bank, rng, start("denoiser", settings.unet.steps))
    student = distil(good, bank, settings.distil, rng, start("distilled", settings.distil.iterations))
    assemble_pipeline(text_encoder=good.text_encoder, vae=vae, unet=good.unet).save_pretrained(out_dir / "good")
    _save_denoiser(early, out_dir / "early")
    student.save_pretrained(out_dir / "distilled" / "unet")


def _save_denoiser(denoiser: Denoiser, directory: Path) -> None:
    denoiser.unet.save_pretrained(directory / "unet")
    denoiser.text_encoder.save_pretrained(directory / "text_encoder")


def write_cards(
    out_dir: Path, seed: int, settings: TrainSettings, prompts: list[str], report: Report = be_silent
) -> None:
    """Measure the trained versions in `out_dir` on the prompts and write their cards; a loss is not told of."""
    reader = load_reader()
    reference = load_reference(reader)
    ceiling = measure_ceiling(prompts, reader, reference)
    for number, (name, text) in enumerate(CARDS.items(), 1):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(out_dir / "good", folder, dirs_exist_ok=True)
            shutil.copytree(out_dir / name, folder, dirs_exist_ok=True)
            pipeline = load_pipeline(Path(folder), text.defaults.torch_dtype)
            images = generate(pipeline, prompts, text.defaults)
        figures = measure(list(images), prompts, reader, reference)
        write_card(out_dir / name, seed=seed, settings=asdict(settings), figures=figures, ceiling=ceiling)
        report(number, math.nan)


def _start_silently(stage: str, steps: int) -> Report:
    return be_silent


@contextmanager
def _show_progress() -> Iterator[StartStage]:
    columns = (TextColumn("{task.description:12}"), BarColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:

        def start(stage: str, steps: int) -> Report:
            task = bar.add_task(stage, total=steps, loss=math.nan)
            return lambda step, loss: bar.update(task, completed=step, loss=loss)

        yield start


def main() -> None:
    """Train with a progress bar and tell where the weights are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="new directory for good/, early/ and distilled/")
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED, help="seed of the training")
    arguments = parser.parse_args()
    train(arguments.out, arguments.seed)
    Console().print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()

"""Measures the demo versions: `python -m controlplane.demo.model.check [--version NAME ...] [--n 256]`.

Each version is assembled, loaded in a fresh process with plain DiffusionPipeline.from_pretrained,
and asked for the fixed prompts. Exit status 1 when a shipped version does not keep what its card
promises.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from contracts.errors import RoostError, Unavailable
from controlplane.demo.model.card import CARDS
from controlplane.demo.model.sampling import generate, load_pipeline, read_defaults, time_images
from controlplane.demo.model.versions import VERSIONS, DemoVersion, assemble, find_version
from evaluation.price_tags.figures import TagFigures, load_reference, measure, measure_ceiling
from evaluation.price_tags.grammar import figure_prompts
from evaluation.price_tags.reader import load_reader

_TIMED_IMAGES: Final = 16
_COLUMNS: Final = ("version", "asked", "exact", "digit", "ink", "paper", "conf", "FD", "FD n", "ms")


@dataclass(frozen=True, slots=True)
class CheckedVersion:
    """Figures of one version, and the median time of one picture alone on one thread, in seconds."""

    name: str
    figures: TagFigures
    latency_s: float


def check_directory(directory: Path, n: int) -> tuple[TagFigures, float]:
    """Measure an assembled version in this process: its figures on n prompts and seconds per picture."""
    import torch

    torch.set_num_threads(1)
    defaults = read_defaults(directory)
    pipeline = load_pipeline(directory, defaults.torch_dtype)
    prompts = figure_prompts(n)
    reader = load_reader()
    images = generate(pipeline, prompts, defaults)
    latency_s = time_images(pipeline, prompts[:_TIMED_IMAGES], defaults)
    return measure(list(images), prompts, reader, load_reference(reader)), latency_s


def check_version(version: DemoVersion, n: int) -> CheckedVersion:
    """Assemble a version in a temporary directory and measure it in a fresh process.

    Raises Unavailable with the end of the process's own words when it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = assemble(version.name, Path(folder) / version.name)
        measurement = ["--directory", str(directory), "--n", str(n)]
        command = [sys.executable, "-W", "ignore", "-m", "controlplane.demo.model.check", *measurement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"version {version.name} can't be measured: {done.stderr[-2000:]}")
    answer = json.loads(done.stdout)
    return CheckedVersion(version.name, TagFigures(**answer["figures"]), answer["latency_s"])


def find_breaches(checked: CheckedVersion) -> list[str]:
    """List in words which promises of its card a version does not keep; none for the spoilt ones."""
    card = CARDS.get(checked.name)
    return card.promise.find_breaches(checked.figures) if card else []


def draw_table(rows: list[CheckedVersion], ceiling: TagFigures) -> Table:
    """Draw the figures, the reader's ceiling on real held-out digits first."""
    caption = "asked: steps/guidance; FD compares only at like n"
    table = Table(title=f"{ceiling.n} prompts", caption=caption, box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True)
    table.add_row("(real digits)", "", *_show(ceiling), "")
    for row in rows:
        defaults = find_version(row.name).defaults
        asked = f"{defaults.num_inference_steps}/{defaults.guidance_scale:g}"
        table.add_row(row.name, asked, *_show(row.figures), f"{row.latency_s * 1000:.0f}")
    return table


def _show(figures: TagFigures) -> list[str]:
    shares = [f"{share:.3f}" for share in (figures.exact, figures.digit, figures.ink, figures.paper)]
    confidence = "–" if figures.confidence is None else f"{figures.confidence:.3f}"
    frechet = "–" if figures.frechet is None else f"{figures.frechet:.2f}"
    return [*shares, confidence, frechet, str(figures.frechet_n)]


def check(names: Sequence[str] | None = None, *, n: int = 256, as_json: bool = False) -> bool:
    """Measure the versions named, or all, and print their figures; True when every promise is kept.

    Raises NotFound for an unknown name and Unavailable when a version can't be measured.
    """
    versions = [find_version(name) for name in names] if names else list(VERSIONS)
    reader = load_reader()
    ceiling = measure_ceiling(figure_prompts(n), reader, load_reference(reader))
    rows = [check_version(version, n) for version in versions]
    breaches = {row.name: found for row in rows if (found := find_breaches(row))}
    if as_json:
        document: dict[str, Any] = {"ceiling": ceiling.to_dict(), "versions": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps({**document, "breaches": breaches}, indent=2) + "\n")
        return not breaches
    console = Console()
    console.print(draw_table(rows, ceiling))
    for version in versions:
        console.print(f"[bold]{version.name}[/]: {version.lesson}")
    for name, found in breaches.items():
        console.print(f"[bold red]{name}[/]: {'; '.join(found)}")
    return not breaches


def main() -> int:
    """Check the versions named, or all; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", action="append", help="a version to check; may be said again (default: all)")
    parser.add_argument("--n", type=int, default=256, help="number of prompts")
    parser.add_argument("--json", action="store_true", help="machine-readable figures")
    parser.add_argument("--directory", type=Path, help="measure an assembled directory in this process, as JSON")
    arguments = parser.parse_args()
    try:
        if arguments.directory:
            figures, latency_s = check_directory(arguments.directory, arguments.n)
            sys.stdout.write(json.dumps({"figures": figures.to_dict(), "latency_s": latency_s}) + "\n")
            return 0
        return 0 if check(arguments.version, n=arguments.n, as_json=arguments.json) else 1
    except RoostError as error:
        Console(stderr=True).print(f"{error.message}\n{error.hint}")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())

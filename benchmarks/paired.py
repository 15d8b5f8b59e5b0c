"""Images needed to tell the good demo version from each broken one, and from one as good: paired against unpaired.

    python -m benchmarks.paired --out build/bench-evaluation

Every version draws the same prompts and seeds. Then, over and over in random order, each way of comparing is asked how
many images it takes until it knows, at the same error rates:

- *paired*: Roost's e-process on the differences of pairs (same prompt, same seed);
- *unpaired*: the very same e-process on pairs whose halves have different prompts and seeds: what pairing alone brings;
- *fixed, planned*: a two-sample z-test that nobody may look at early, its size planned for the smallest harm that
  matters (twice the tolerance), since the true one isn't known beforehand: how versions are usually compared;
- *fixed, oracle*: the same test, planned for the true difference and spread, as nobody can.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from controlplane.demo.model.sampling import generate, load_pipeline
from controlplane.demo.model.versions import assemble, find_version
from evaluation.price_tags.grammar import TagText, figure_prompts, parse_prompt
from evaluation.price_tags.reader import TagReader, load_reader
from rollout.evidence.counts import Side
from rollout.evidence.scores import log_factor, scores_test

Array = npt.NDArray[np.float64]

PROMPTS, RUNS, SEED = 512, 200, 17
ALPHA = BETA = 0.01
TOLERANCE = 0.05
GOOD = "good"
BROKEN = ("early", "swapped-rows", "vae-scale", "over-quantised", "black")
ALIKE = ("distilled",)
MEASURES = ("text", "digits", "colours")
"""Whole string right; share of the digits right in their place; share of ink and paper right."""


def score_version(name: str, cache: Path) -> Array:
    """Return the scores of a version's pictures, (prompts, measures)."""
    file = cache / f"{name}.npy"
    prompts = figure_prompts(PROMPTS)
    if not file.exists():
        with tempfile.TemporaryDirectory() as folder:
            directory = assemble(name, Path(folder) / "pipeline")
            defaults = find_version(name).defaults
            np.save(file, generate(load_pipeline(directory, defaults.torch_dtype), prompts, defaults))
    reader, rows = load_reader(), []
    for picture, prompt in zip(np.load(file), prompts, strict=True):
        asked = parse_prompt(prompt)
        assert asked is not None
        rows.append(score_picture(reader, picture, asked))
    return np.array(rows, dtype=float)


def score_picture(reader: TagReader, picture: npt.NDArray[np.uint8], asked: TagText) -> list[float]:
    """Return the three measures of one picture."""
    reading = reader.read(picture)
    in_place = sum(a == b for a, b in zip(reading.digits, asked.digits, strict=False))
    colours = ((reading.ink == asked.ink) + (reading.paper == asked.paper)) / 2
    return [float(reading.digits == asked.digits), in_place / len(asked.digits), colours]


def pairs_needed(differences: Array, side: Side) -> float:
    """Return after how many differences the e-process against -TOLERANCE knows; infinite when it doesn't."""
    test = scores_test((1 - TOLERANCE) / 2, side)
    scores = (1 + differences) / 2
    factors = log_factor(test.bets, np.array(test.bound), scores[:, None]).cumsum(axis=0)
    evidence = np.logaddexp.reduce(factors + test.log_prior, axis=1)
    known = np.flatnonzero(evidence >= -np.log(ALPHA if side is Side.HARM else BETA))
    return float(known[0] + 1) if known.size else np.inf


def fixed_images(difference: float, variance: float) -> float:
    """Return the images, both arms together, of a one-sided z-test of ``difference`` beyond the tolerance."""
    gap = abs(difference + TOLERANCE)
    z = norm.isf(ALPHA) + norm.isf(BETA)
    return float(2 * np.ceil(z**2 * variance / gap**2)) if gap else np.inf


@dataclass(frozen=True)
class Row:
    """Images that each way needs to know of one version on one measure; medians over random orders.

    ``paired_known`` is the share of orders in which the paired comparison knew at all.
    """

    version: str
    measure: str
    difference: float
    correlation: float
    paired: float
    paired_known: float
    unpaired: float
    fixed_planned: float
    fixed_oracle: float


def ask(names: tuple[str, str], good: Array, other: Array, side: Side, rng: np.random.Generator) -> Row:
    """Ask each way of comparing about one version (first name) on one measure."""
    counts: dict[str, list[float]] = {"paired": [], "unpaired": []}
    for _ in range(RUNS):
        order, stranger = rng.integers(PROMPTS, size=(2, 4 * PROMPTS))
        counts["paired"].append(2 * pairs_needed(other[order] - good[order], side))
        counts["unpaired"].append(2 * pairs_needed(other[order] - good[stranger], side))
    difference = float(other.mean() - good.mean())
    at_limit = min(float(good.mean()) - 2 * TOLERANCE, 1.0)
    # What a planner knows beforehand: the champion's spread, and that of a share at the limit.
    planned_variance = float(good.var()) + at_limit * (1 - at_limit)
    aim = -2 * TOLERANCE if side is Side.HARM else 0.0
    return Row(
        *names,
        difference=difference,
        correlation=float(np.corrcoef(good, other)[0, 1]) if good.std() and other.std() else 0.0,
        paired=float(np.median(counts["paired"])),
        paired_known=float(np.mean(np.isfinite(counts["paired"]))),
        unpaired=float(np.median(counts["unpaired"])),
        fixed_planned=fixed_images(aim, planned_variance),
        fixed_oracle=fixed_images(difference, float(good.var() + other.var())),
    )


def main() -> None:
    """Draw, ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench-evaluation"))
    out: Path = parser.parse_args().out
    pictures = out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    scores = {name: score_version(name, pictures) for name in (GOOD, *BROKEN, *ALIKE)}
    rows = []
    for name in (*BROKEN, *ALIKE):
        side = Side.SAFE if name in ALIKE else Side.HARM
        for column, measure in enumerate(MEASURES):
            good, other = scores[GOOD][:, column], scores[name][:, column]
            # A measure that a broken version doesn't harm has nothing to find.
            if side is Side.SAFE or other.mean() - good.mean() < -2 * TOLERANCE:
                rows.append(ask((name, measure), good, other, side, rng))
    print(f"images (both arms), median of {RUNS} runs; error rates {ALPHA:g} and {BETA:g}; tolerance {TOLERANCE:g}\n")
    print("version         measure   diff  corr   paired  unpaired  fixed planned  fixed oracle   planned/paired")
    for row in rows:
        print(
            f"{row.version:<15} {row.measure:<8} {row.difference:+.3f} {row.correlation:5.2f} {row.paired:8.0f} "
            f"{row.unpaired:9.0f} {row.fixed_planned:14.0f} {row.fixed_oracle:13.0f} "
            f"{row.fixed_planned / row.paired:16.1f}"
        )
    (out / "paired.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()

"""Images needed to tell the demo's good version from others, or to prove one as good: paired against unpaired.

    python -m benchmarks.paired --out build/bench-evaluation

Every version draws the same prompts and seeds. Then, over and over in random order, each way of comparing is asked how
many images it takes until it knows, at the same error rates:

- *paired*: Roost's e-process on the differences of pairs (same prompt, same seed);
- *unpaired*: the very same e-process on pairs whose halves have different prompts and seeds: what pairing alone brings;
- *fixed, planned*: a two-sample z-test that nobody may look at early, its size planned for the smallest harm that
  matters (twice the tolerance), since the true one isn't known beforehand: how versions are usually compared;
- *fixed, oracle*: the same test, planned for the true difference and spread, as nobody can.

*limit* is paired over unpaired for the best tests there can be: both at the information limit of bounded scores,
ln(1/α) / sup_λ E ln(1 + λ(m - x)) (Honda & Takemura 2010). Pairing saves what the prompts have in
common, 1 - ρ of the variance when both versions vary alike: a version that is right nearly always hardly varies, so a
broken one beside it is told no sooner by pairs. Where both draw nearly the same pictures and the tolerance is fine,
pairs differ in nothing, strangers in everything.
"""

import argparse
import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from controlplane.demo.model.sampling import generate, load_pipeline
from controlplane.demo.model.versions import assemble, find_version
from controlplane.evaluation.evidence import paired_test
from evaluation.price_tags.grammar import TagText, figure_prompts, parse_prompt
from evaluation.price_tags.reader import TagReader, load_reader
from rollout.evidence.counts import Side
from rollout.evidence.scores import log_factor

Array = npt.NDArray[np.float64]

PROMPTS, RUNS, SEED = 512, 100, 17
ALPHA = BETA = 0.01
TOLERANCE = 0.05
FINE_TOLERANCES = (0.05, 0.02, 0.01)
GOOD = "good"
BROKEN = ("early", "swapped-rows", "vae-scale", "over-quantised", "black")
ALIKE = ("fp16", "distilled", "many-steps")
MEASURES = ("text", "digits", "colours")
"""Whole string right; share of the digits right in their place; share of ink and paper right."""
WANTED = 0.25
BETS = 200
LONGEST = 16


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


@dataclass(frozen=True)
class Question:
    """What is asked of one version on one measure: whether it is worse (harm) or not (safe) by more than tolerated."""

    version: str
    measure: str
    side: Side
    tolerance: float

    @property
    def bound(self) -> float:
        """The tolerated mean difference, mapped to [0, 1]."""
        return (1 - self.tolerance) / 2


def pairs_needed(question: Question, differences: Array) -> float:
    """Return after how many differences the product's e-process knows; infinite when it doesn't."""
    test = paired_test(question.bound, question.side)
    factors = log_factor(test.bets, np.array(test.bound), (1 + differences)[:, None] / 2).cumsum(axis=0)
    evidence = np.logaddexp.reduce(factors + test.log_prior, axis=1)
    known = np.flatnonzero(evidence >= -math.log(ALPHA if question.side is Side.HARM else BETA))
    return float(known[0] + 1) if known.size else np.inf


def information(question: Question, differences: Array) -> float:
    """Return how much the best bet wins by a difference, in nats; none can win more in the long run."""
    values, counts = np.unique(np.round((1 + differences) / 2, 9), return_counts=True)
    largest = 1 / (1 - question.bound) if question.side is Side.HARM else -1 / question.bound
    bets = largest * np.linspace(1e-3, 1 - 1e-9, BETS)
    won = np.log1p(np.maximum(bets[:, None] * (question.bound - values), -1 + 1e-12)) @ (counts / counts.sum())
    return max(float(won.max()), 1e-12)


def fixed_images(gap: float, variance: float) -> float:
    """Return the images, both arms together, of a one-sided z-test of a mean that lies ``gap`` from its bound."""
    z = norm.isf(ALPHA) + norm.isf(BETA)
    return float(2 * np.ceil(z**2 * variance / gap**2)) if gap else np.inf


@dataclass(frozen=True)
class Row:
    """Images that each way needs to know of one version on one measure; medians over random orders.

    ``paired_known`` is the share of orders in which the paired comparison knew at all; ``limit`` the ratio of paired to
    unpaired images at the information limit.
    """

    version: str
    measure: str
    side: str
    tolerance: float
    difference: float
    correlation: float
    paired: float
    paired_known: float
    unpaired: float
    fixed_planned: float
    fixed_oracle: float
    limit: float

    @property
    def over_unpaired(self) -> float:
        """Paired images over those of the same test without pairing; NaN when one of them never knew."""
        return self.paired / self.unpaired if math.isfinite(self.paired + self.unpaired) else math.nan

    @property
    def over_planned(self) -> float:
        """Paired images over those of the planned two-sample test."""
        return self.paired / self.fixed_planned


def ask(question: Question, good: Array, other: Array, rng: np.random.Generator) -> Row:
    """Ask each way of comparing."""
    counts: dict[str, list[float]] = {"paired": [], "unpaired": []}
    for _ in range(RUNS):
        order, stranger = rng.integers(PROMPTS, size=(2, LONGEST * PROMPTS))
        counts["paired"].append(2 * pairs_needed(question, other[order] - good[order]))
        counts["unpaired"].append(2 * pairs_needed(question, other[order] - good[stranger]))
    difference, tolerance = float(other.mean() - good.mean()), question.tolerance
    at_limit = max(float(good.mean()) - 2 * tolerance, 0.0)
    # What a planner knows beforehand: the champion's spread, and that of a share at the limit.
    planned_variance = float(good.var()) + at_limit * (1 - at_limit)
    strangers = (other[:, None] - good[None]).ravel()
    return Row(
        question.version,
        question.measure,
        question.side.value,
        tolerance,
        difference=difference,
        correlation=float(np.corrcoef(good, other)[0, 1]) if good.std() and other.std() else 0.0,
        paired=float(np.median(counts["paired"])),
        paired_known=float(np.mean(np.isfinite(counts["paired"]))),
        unpaired=float(np.median(counts["unpaired"])),
        fixed_planned=fixed_images(tolerance, planned_variance),
        fixed_oracle=fixed_images(difference + tolerance, float(good.var() + other.var())),
        limit=information(question, strangers) / information(question, other - good),
    )


def measure(scores: dict[str, Array]) -> list[Row]:
    """Ask whether each broken version is worse where it is, and whether each like one is as good, at each tolerance."""
    rng, rows = np.random.default_rng(SEED), []
    for name in (*BROKEN, *ALIKE):
        for column, measure_name in enumerate(MEASURES):
            good, other = scores[GOOD][:, column], scores[name][:, column]
            if name in ALIKE:
                questions = [Question(name, measure_name, Side.SAFE, tolerance) for tolerance in FINE_TOLERANCES]
            # A measure that a broken version doesn't harm has nothing to find.
            elif other.mean() - good.mean() < -2 * TOLERANCE:
                questions = [Question(name, measure_name, Side.HARM, TOLERANCE)]
            else:
                questions = []
            rows += [ask(question, good, other, rng) for question in questions]
    return rows


def tell(rows: list[Row]) -> None:
    """Print the table, and which comparisons need at most a quarter of which unpaired one."""
    print(f"images (both arms), median of {RUNS} orders; error rates {ALPHA:g} and {BETA:g}; harm: known worse by more")
    print(
        "than the tolerance, safe: known not worse; P/U paired over unpaired (the same test), P/F over fixed planned\n"
    )
    print("version         measure  asked tol    diff  corr  paired unpaired   fixed oracle   P/U limit   P/F")
    for row in rows:
        print(
            f"{row.version:<15} {row.measure:<8} {row.side:<5} {row.tolerance:4.2f} {row.difference:+.3f} "
            f"{row.correlation:5.2f} {row.paired:7.0f} {row.unpaired:8.0f} {row.fixed_planned:7.0f} "
            f"{row.fixed_oracle:6.0f} {row.over_unpaired:5.2f} {row.limit:5.2f} {row.over_planned:5.2f}"
        )
    for what, reached in (
        ("the planned two-sample test", [row for row in rows if row.over_planned <= WANTED]),
        ("the same sequential test without pairing", [row for row in rows if row.over_unpaired <= WANTED]),
        ("the unpaired ones at the information limit", [row for row in rows if row.limit <= WANTED]),
    ):
        most = len(reached) > len(rows) / 2
        named = [row for row in rows if (row in reached) is not most]
        names = ", ".join(f"{row.version} {row.measure} at {row.tolerance:g}" for row in named) or "none"
        print(
            f"\nat most a quarter of {what}: {len(reached)} of {len(rows)}; {'all but' if most else 'these'}: {names}"
        )


def main() -> None:
    """Draw, ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/bench-evaluation"))
    out: Path = parser.parse_args().out
    pictures = out / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    rows = measure({name: score_version(name, pictures) for name in (GOOD, *BROKEN, *ALIKE)})
    tell(rows)
    (out / "paired.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()

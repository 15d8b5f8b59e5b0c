"""How long two versions take, side by side in one process: ``python -m controlplane.optimise.timing``."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.model import Frozen
from contracts.wire.artefact import read_plan
from contracts.wire.worker import GenerationDefaults
from controlplane.optimise.child import Tell, run_child, serve_parent

FEWEST_PAIRS, MOST_PAIRS = 3, 15
"""Of each order in which the versions are loaded."""
WARM_UPS = 2
BEFORE, AFTER = 0, 1
FASTER = 0.95
"""The median of after ÷ before that counts as a gain."""
CHANCE = 0.05
"""How often a version that is no faster may look so in as many pairs."""


class TimingSpec(Frozen):
    """What to time: the version before and after with their defaults, and for about how long."""

    before: Path
    before_defaults: GenerationDefaults
    after: Path
    after_defaults: GenerationDefaults
    prompts: tuple[str, ...]
    device: str = "cpu"
    budget_s: float = 60.0


class Timing(Frozen):
    """Time per picture, drawn in turn by both on one thread: CPU seconds, on a GPU seconds of the clock.

    ``ratio`` is after ÷ before, the median over the pairs; ``lowest`` and ``highest`` are the middle half's ends;
    ``won`` counts the pairs in which after took less time.
    """

    pairs: int
    won: int
    before_s: float
    after_s: float
    ratio: float
    lowest: float
    highest: float

    @property
    def chance(self) -> float:
        """Return how often a version that is no faster wins as many pairs: the sign test's p-value, one-sided."""
        return sum(math.comb(self.pairs, wins) for wins in range(self.won, self.pairs + 1)) / 2.0**self.pairs

    @property
    def is_faster(self) -> bool:
        """Tell whether the median gains a twentieth, and more pairs gain than chance explains."""
        return self.ratio <= FASTER and self.chance <= CHANCE


def compare_times(spec: TimingSpec, *, log: Path, tell: Tell = lambda step: None) -> Timing:
    """Time both versions in a child process.

    Raises:
        RoostError: what loading or drawing raised there.
    """
    return Timing.model_validate(run_child(__name__, spec.model_dump_json(), log=log, tell=tell))


def _work(spec_json: str, tell: Tell) -> object:
    import torch

    torch.set_num_threads(1)
    spec = TimingSpec.model_validate_json(spec_json)
    pairs: list[tuple[float, float]] = []
    for order in ((BEFORE, AFTER), (AFTER, BEFORE)):
        pairs += _time_pairs(spec, order, len(pairs), tell)
        gc.collect()  # pipelines hold themselves in cycles, and four may not fit
    return summarise(pairs).model_dump()


def _time_pairs(spec: TimingSpec, order: tuple[int, int], told: int, tell: Tell) -> list[tuple[float, float]]:
    """Return times before and after for half of the budget, both versions loaded in an order; ``told`` pairs are known.

    What is loaded second draws up to a tenth faster, the same version too; and who draws a prompt second finds it warm.
    """
    from serving.worker.runtimes.pipeline import load_pipeline

    sides = ((spec.before, spec.before_defaults), (spec.after, spec.after_defaults))
    pipelines = {}
    for side in order:
        directory, defaults = sides[side]
        pipelines[side] = load_pipeline(directory, read_plan(directory), defaults.torch_dtype, spec.device), defaults
    clock = time.process_time if spec.device == "cpu" else time.perf_counter
    for prompt in [spec.prompts[0]] * WARM_UPS:
        for side in order:
            _time_one(*pipelines[side], prompt, clock)
    pairs: list[tuple[float, float]] = []
    begun_s, budget_s = time.monotonic(), spec.budget_s / 2
    while len(pairs) < FEWEST_PAIRS or (time.monotonic() - begun_s < budget_s and len(pairs) < MOST_PAIRS):
        prompt = spec.prompts[len(pairs) % len(spec.prompts)]
        drawing = order if len(pairs) % 2 == 0 else order[::-1]
        took_s = {side: _time_one(*pipelines[side], prompt, clock) for side in drawing}
        pairs.append((took_s[BEFORE], took_s[AFTER]))
        tell(f"timing, pair {told + len(pairs)}")
    return pairs


def _time_one(pipeline: Any, defaults: GenerationDefaults, prompt: str, clock: Callable[[], float]) -> float:
    import torch

    from registry.recipes.capture import SEED, draw

    with torch.inference_mode():
        begun_s = clock()
        draw(pipeline, [prompt], defaults, seed=SEED)
        return clock() - begun_s


def summarise(pairs: list[tuple[float, float]]) -> Timing:
    """Return the medians of what was timed in turn, and of the ratios."""
    ratios = [after_s / before_s for before_s, after_s in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Timing(
        pairs=len(pairs),
        won=sum(after_s < before_s for before_s, after_s in pairs),
        before_s=statistics.median(before_s for before_s, _ in pairs),
        after_s=statistics.median(after_s for _, after_s in pairs),
        ratio=middle,
        lowest=low,
        highest=high,
    )


if __name__ == "__main__":
    serve_parent(_work)

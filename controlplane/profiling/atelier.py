"""The atelier on this machine: recipes made in child processes, candidates tried in one worker after another."""

import time
from collections.abc import Callable
from pathlib import Path

from contracts.wire.capacity import WorkerLimits
from contracts.wire.worker import GenerateRequest, GenerationDefaults, WorkerSpec
from controlplane.optimise.drawing import worker_spec_for
from controlplane.optimise.making import MakeSpec, make
from controlplane.profiling.bench import ProcessBench
from controlplane.profiling.judges import Asked
from registry.profile.quality import SEED
from registry.tuning.search import Candidate, Tried


class WorkerAtelier:
    """Tries candidates of one version; ``folder`` takes what recipes make and must go away with the job."""

    def __init__(
        self,
        spec: WorkerSpec,
        asked: Asked,
        *,
        folder: Path,
        log: Path,
        tell: Callable[[str], None],
    ) -> None:
        self._asked, self._folder, self._log, self._tell = asked, folder, log, tell
        self._specs: dict[str, WorkerSpec] = {"": spec.model_copy(update={"limits": WorkerLimits(), "capacity": None})}
        self._bench: ProcessBench | None = None

    def open(self, recipe: str) -> None:
        """Make a recipe's version if need be, and start its worker in the place of the one before.

        Raises:
            InvalidInput, Unavailable: when the recipe can't work here, in its own words.
        """
        self.close()
        if recipe not in self._specs:
            self._specs[recipe] = self._make(recipe)
        bench = ProcessBench(self._specs[recipe], self._asked.prompts, self._log)
        self._bench = bench
        bench.start()

    def attempt(self, candidate: Candidate, first: int, count: int) -> Tried:
        """Draw prompts one by one, each from its own fixed seed, then let the judge score them.

        Raises:
            Unavailable: when the version can't draw so.
        """
        bench = self._bench
        if bench is None:
            raise RuntimeError("no recipe is open")
        prompts = self._asked.prompts[first : first + count]
        bench.paint([_request(candidate, prompts[0], SEED + first)])
        bench.reset_peak()
        pictures: list[bytes] = []
        latencies_s: list[float] = []
        for position, prompt in enumerate(prompts):
            begun_s = time.perf_counter()
            pictures += bench.paint([_request(candidate, prompt, SEED + first + position)])
            latencies_s.append(time.perf_counter() - begun_s)
        judge = self._asked.judge
        scores = judge.score(prompts, pictures) if judge is not None else [None] * len(pictures)
        return Tried(tuple(scores), tuple(latencies_s), bench.usage().peak_bytes)

    def close(self) -> None:
        """End the worker."""
        bench, self._bench = self._bench, None
        if bench is not None:
            bench.close()

    def _make(self, recipe: str) -> WorkerSpec:
        own = self._specs[""]
        folder = self._folder / f"recipe-{len(self._specs)}"
        folder.mkdir()
        self._tell(f"making {recipe}")
        spec = MakeSpec(
            directory=Path(own.directory),
            defaults=own.defaults,
            recipes=recipe,
            folder=folder,
            device=own.device,
            prompts=self._asked.prompts,
        )
        made = make(spec, log=self._log, tell=self._tell)
        return worker_spec_for(own, made.directory, {"defaults": made.defaults})


def sampling_recipes(candidate: Candidate, defaults: GenerationDefaults) -> str:
    """Return a candidate as recipes, ``onnx-fp32+steps=4``; what the version has already is left out."""
    parts = [candidate.recipe] if candidate.recipe else []
    if candidate.steps != defaults.num_inference_steps:
        parts.append(f"steps={candidate.steps}")
    if candidate.guidance != defaults.guidance_scale:
        parts.append(f"guidance={candidate.guidance:g}")
    return "+".join(parts)


def _request(candidate: Candidate, prompt: str, seed: int) -> GenerateRequest:
    return GenerateRequest(prompt=prompt, seed=seed, steps=candidate.steps, guidance=candidate.guidance)

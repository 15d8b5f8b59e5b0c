"""Golden prompts before any traffic: a version whose pictures are blank is refused.

``python -m controlplane.demo.golden`` draws them for all versions, in a process of its own with lower priority than
whoever serves.
"""

import io
import os
import threading
from pathlib import Path
from typing import Any

from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId
from contracts.model import Frozen
from contracts.specs.service import ServiceSpec
from contracts.wire.worker import GenerationDefaults
from controlplane.optimise.child import Tell, run_child, serve_parent
from registry.catalogue import Catalogue, VersionRecord

PROMPTS = 8
SEED = 427
LOWER_PRIORITY = 10


class Candidate(Frozen):
    """A version that is to draw the golden prompts: where its pipeline lies, and how it is asked by default."""

    version: VersionId
    directory: Path
    defaults: GenerationDefaults


class Candidates(Frozen):
    """Versions in the order in which they are looked at."""

    candidates: tuple[Candidate, ...]


class Finding(Frozen):
    """What a version's golden pictures say against it, "" for nothing."""

    version: VersionId
    why: str


class GoldenPrompts:
    """A precondition of rollouts: the pictures of these versions are looked at, one after another, beside all else.

    A version that is not among them was proven elsewhere.
    """

    def __init__(self, catalogue: Catalogue, records: list[VersionRecord], log: Path) -> None:
        self._candidates = Candidates(
            candidates=tuple(
                Candidate(version=one.id, directory=catalogue.fetch(one.id), defaults=one.defaults) for one in records
            )
        )
        self._known: dict[VersionId, str] = {}
        self._error: RoostError | None = None
        self._news, self._is_over = threading.Condition(), False
        self._thread = threading.Thread(target=self._check, args=(log,), name="golden", daemon=True)
        self._thread.start()

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        """Return why the challenger may not be tried, or "", once its pictures were looked at.

        Raises:
            RoostError: what kept them from being looked at.
        """
        if challenger.id not in {one.version for one in self._candidates.candidates}:
            return ""
        with self._news:
            self._news.wait_for(lambda: challenger.id in self._known or self._is_over)
        if challenger.id not in self._known:
            raise self._error or Unavailable(f"the golden prompts of {challenger.id} were not drawn")
        return self._known[challenger.id]

    def _check(self, log: Path) -> None:
        try:
            run_child(__name__, self._candidates.model_dump_json(), log=log, tell=self._note)
        except RoostError as error:
            self._error = error
        with self._news:
            self._is_over = True
            self._news.notify_all()

    def _note(self, step: str) -> None:
        finding = Finding.model_validate_json(step)
        with self._news:
            self._known[finding.version] = finding.why
            self._news.notify_all()


def _work(spec_json: str, tell: Tell) -> object:
    import torch

    os.nice(LOWER_PRIORITY)
    torch.set_num_threads(1)
    for candidate in Candidates.model_validate_json(spec_json).candidates:
        tell(Finding(version=candidate.version, why=_look_at(candidate)).model_dump_json())
    return None


def _look_at(candidate: Candidate) -> str:
    """Draw the golden prompts with one version; return what is wrong with the pictures, "" for nothing."""
    from controlplane.demo.model.sampling import generate, load_pipeline
    from evaluation.price_tags.grammar import figure_prompts
    from registry.golden import find_faults, measure_difference

    pipeline = load_pipeline(candidate.directory, candidate.defaults.torch_dtype)
    drawn = generate(pipeline, figure_prompts(PROMPTS), candidate.defaults, seed=SEED)
    pictures = [_to_png(pixels) for pixels in drawn]
    return "; ".join(find_faults(measure_difference(pictures, pictures), None))


def _to_png(pixels: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


if __name__ == "__main__":
    serve_parent(_work)

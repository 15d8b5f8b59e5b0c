"""A scorer in a process of its own: one that hangs or dies gives no data, and takes nothing along."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Self

from contracts.errors import Unavailable
from contracts.wire.telemetry import SampledOutput
from evaluation.scorers.careful import LONGEST_REASON, CarefulScorer
from evaluation.scorers.port import Score, Scorer

TIMEOUT_S = 30.0
START_TIMEOUT_S = 120.0
BATCH = 8
END_TIMEOUT_S = 2.0
QUIET = {"OMP_THREAD_LIMIT": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class IsolatedScorer:
    """Runs the scorer that ``make`` returns in a child process, ``timeout_s`` for each batch of ``batch`` outputs.

    ``make`` must be importable by its name (a function of a module, or a partial of one). A batch that is late or
    kills the process is judged again one by one in a new process, so that only the outputs at fault have no data.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Scorer],
        *,
        timeout_s: float = TIMEOUT_S,
        start_timeout_s: float = START_TIMEOUT_S,
        batch: int = BATCH,
    ) -> None:
        self._make, self._timeout_s, self._start_timeout_s, self._batch = make, timeout_s, start_timeout_s, batch
        self._name, self._digest = name, ""
        self._process: BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The scorer's name."""
        return self._name

    @property
    def digest(self) -> str:
        """The digest that the scorer told when its process started.

        Raises:
            Unavailable: when it can't be started.
        """
        if not self._digest:
            self._start()
        return self._digest

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        """Return one score for each sample; no data for those that the process was late with or died of."""
        scores: list[Score] = []
        for first in range(0, len(samples), self._batch):
            scores += self._score_batch(samples[first : first + self._batch])
        return scores

    def close(self) -> None:
        """End the process."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.terminate()
            self._process.join(END_TIMEOUT_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
            self._process.close()
        self._process = self._pipe = None

    def _score_batch(self, samples: Sequence[SampledOutput]) -> list[Score]:
        try:
            pipe = self._pipe or self._start()
            pipe.send(list(samples))
            if pipe.poll(self._timeout_s):
                scores: list[Score] = pipe.recv()
                return scores
            failure = f"{self._name} gave no answer within {self._timeout_s:g} s"
        except (EOFError, OSError):
            failure = f"the process of {self._name} died"
        except Unavailable as error:
            return [Score(None, error.message[:LONGEST_REASON])] * len(samples)
        self.close()
        if len(samples) == 1:
            return [Score(None, failure)]
        return [score for sample in samples for score in self._score_batch([sample])]

    def _start(self) -> "Connection[Any, Any]":
        """Start the process and wait until its scorer stands."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        before = {key: os.environ.get(key) for key in QUIET}
        os.environ.update(QUIET)
        try:
            self._process = context.Process(target=_serve, args=(theirs, self._make), daemon=True)
            self._process.start()
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key)
                else:
                    os.environ[key] = value
        theirs.close()
        try:
            kind, told = self._pipe.recv() if self._pipe.poll(self._start_timeout_s) else ("late", "it is too slow")
        except (EOFError, OSError):
            kind, told = "dead", "its process died"
        if kind != "digest":
            self.close()
            raise Unavailable(f"the scorer {self._name} can't be started: {told}", hint="mend it, or leave it out")
        self._digest = told
        return self._pipe


def _serve(pipe: "Connection[Any, Any]", make: Callable[[], Scorer]) -> None:
    """Judge batches until the other end closes."""
    try:
        scorer = CarefulScorer(make())
        pipe.send(("digest", scorer.digest))
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises it
        pipe.send(("failed", f"{type(error).__name__}: {error}"[:LONGEST_REASON]))
        return
    while True:
        try:
            samples = pipe.recv()
        except EOFError:
            return
        pipe.send(scorer.score(samples))

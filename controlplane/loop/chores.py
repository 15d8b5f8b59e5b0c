"""Chores: what takes long, done beside the loop; each is asked for tick after tick until it is done."""

from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from contracts.clock import Clock
from contracts.errors import RoostError

RETRY_S = 5.0
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a chore ended: its result, or the error that it ended with."""

    value: Any = None
    error: RoostError | None = None


class Chores:
    """Runs each chore once at a time, by its key, and remembers how it ended; one that failed is tried again later."""

    def __init__(self, clock: Clock, executor: Executor | None = None, *, retry_s: float = RETRY_S) -> None:
        self._clock, self._retry_s = clock, retry_s
        self._executor = executor or ThreadPoolExecutor(AT_ONCE, thread_name_prefix="chore")
        self._running: dict[Hashable, Future[Any]] = {}
        self._ended: dict[Hashable, tuple[Outcome, float]] = {}

    def ask(self, key: Hashable, work: Callable[[], Any]) -> Outcome | None:
        """Return how the chore ended, None while it runs; begin it when it has not run, or failed a while ago."""
        if key not in self._running:
            ended = self._ended.get(key)
            if ended is not None and (ended[0].error is None or self._age_s(ended[1]) < self._retry_s):
                return ended[0]
            self._running[key] = self._executor.submit(work)
        return self._collect(key)

    def age_s(self, key: Hashable) -> float | None:
        """Return how long ago a chore ended, None when it never did."""
        ended = self._ended.get(key)
        return None if ended is None else self._age_s(ended[1])

    def forget(self, key: Hashable) -> None:
        """Forget how a chore ended, so that it is done anew when asked for."""
        self._ended.pop(key, None)

    def close(self) -> None:
        """Begin nothing more; what runs is left to end by itself."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _collect(self, key: Hashable) -> Outcome | None:
        future = self._running[key]
        if not future.done():
            return None
        del self._running[key]
        error = future.exception()
        if error is not None and not isinstance(error, RoostError):
            error = RoostError(f"{type(error).__name__}: {error}")
        outcome = Outcome(error=error) if error is not None else Outcome(future.result())
        self._ended[key] = outcome, self._clock.monotonic_s()
        return outcome

    def _age_s(self, at_s: float) -> float:
        return self._clock.monotonic_s() - at_s


class AtOnce(Executor):
    """An executor without threads: what is submitted is done before ``submit`` returns. For simulations."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it now."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result meets it there
            future.set_exception(error)
        return future

"""Places at the streams: how many of them may be open at once, of one actor and of all."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from contracts.errors import RoostError, Unavailable
from controlplane.api.problems import answer_problem
from controlplane.statuses import TooManyRequests

EACH, TOGETHER = 20, 100
WAIT_S = 10.0


class Places:
    """Places for streams, those of the API and of the pages together. Safe for threads."""

    def __init__(self, *, each: int = EACH, together: int = TOGETHER) -> None:
        self._each, self._together = each, together
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many streams are open."""
        with self._lock:
            return self._taken.total()

    @contextmanager
    def take(self, actor: str) -> Iterator[None]:
        """Hold a place for the block.

        Raises:
            TooManyRequests: when this actor has all that one may have.
            Unavailable: when all places are taken.
        """
        with self._lock:
            if self._taken[actor] >= self._each:
                raise TooManyRequests(f"{actor} has {self._each} streams open, and may have no more", WAIT_S)
            if self._taken.total() >= self._together:
                raise Unavailable(
                    f"all {self._together} streams are taken", hint="close some, or raise streams in access.yaml"
                )
            self._taken[actor] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[actor] -= 1
                self._taken += Counter()  # those with none left go


class Seated(Response):
    """A stream that holds a place as long as it lasts; without a free one it is refused before it begins."""

    def __init__(self, stream: Response, places: Places, actor: str) -> None:
        super().__init__(status_code=stream.status_code)
        self._stream, self._places, self._actor = stream, places, actor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self._places.take(self._actor))
            except RoostError as error:
                # Raised, it would reach nobody: streams run in a group of tasks, which wraps it.
                await answer_problem(error)(scope, receive, send)
                return
            await self._stream(scope, receive, send)

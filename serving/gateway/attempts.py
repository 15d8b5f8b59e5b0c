"""Attempts: one try at one version, on its least busy replica, within the time that is left."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import ValidationError

from contracts.wire.worker import FailureReason, PictureEvent, WorkerFailure
from serving.gateway.lines import Line, Replica, Shed
from serving.gateway.upstream import Chunks, LostConnection, Reply
from serving.gateway.work import Work

QUEUE = "queue"
"""Named as the replica by attempts that never reached one."""
Events = Callable[[PictureEvent], None]


@dataclass(slots=True)
class Attempt:
    """What came of one try: the worker's answer, or the reason why there is none.

    ``latency_s`` counts from the arrival in the queue, ``queue_s`` of it were waited. ``lost``: the replica went away,
    which says nothing about the next one. ``retry_after_s`` is told by who was turned away at the queue. ``start_s``
    is the arrival on the clock of ``perf_counter``.
    """

    version: str
    replica: str
    latency_s: float
    queue_s: float = 0.0
    body: bytes = b""
    failure: FailureReason | None = None
    message: str = ""
    digest: str | None = None
    lost: bool = False
    cold: bool = False
    retry_after_s: float | None = None
    start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LaneSlot:
    """The lane of a request: how many of its requests one replica may have at once, and how it draws."""

    lane: str
    max_concurrency: int
    steps: int | None = None
    guidance: float | None = None


async def make_attempt(
    line: Line, work: Work, slot: LaneSlot, *, timeout_s: float, on_event: Events | None = None
) -> Attempt:
    """Ask a version once; a failure is a result, not an exception.

    Raises:
        CancelledError: when the client has gone; the worker's connection is closed, so that it stops.
    """
    if not line.replicas:
        message = f"nobody answers for {line.name} now"
        return _never_begun(line, time.perf_counter(), FailureReason.OVERLOAD, message)
    start_s = time.perf_counter()
    queue_s = 0.0
    replica = line.take(slot.lane, slot.max_concurrency)
    if replica is None:
        try:
            turn = await line.wait(slot.lane, slot.max_concurrency, timeout_s)
        except TimeoutError:
            return _never_begun(line, start_s, FailureReason.TIMEOUT, f"no free replica within {timeout_s:.3g} s")
        if isinstance(turn, Shed):
            turned_away = _never_begun(line, start_s, FailureReason.OVERLOAD, turn.message)
            turned_away.retry_after_s = turn.retry_after_s
            return turned_away
        replica, queue_s = turn, time.perf_counter() - start_s
    left_s = max(0.001, timeout_s - queue_s)
    attempt = await ask_replica(line, replica, work, slot.lane, timeout_s=left_s, on_event=on_event)
    attempt.start_s, attempt.queue_s = start_s, queue_s
    attempt.latency_s += queue_s
    return attempt


async def ask_replica(
    line: Line,
    replica: Replica,
    work: Work,
    lane: str,
    *,
    timeout_s: float,
    on_event: Events | None = None,
) -> Attempt:
    """Ask a replica whose slot was taken, and give the slot back."""
    attempt = open_attempt(line, replica)
    stream = EventStream(on_event) if on_event is not None else None
    service_s: float | None = None
    try:
        reply = await replica.upstream.post(
            work.path, work.encode(timeout_s), timeout_s=timeout_s, on_chunk=stream.feed if stream is not None else None
        )
        service_s = note_reply(attempt, replica, reply, stream)
    except (TimeoutError, LostConnection) as error:
        service_s = note_loss(attempt, replica, error, timeout_s)
    finally:
        line.leave(replica, lane, service_s)
    return attempt


def open_attempt(line: Line, replica: Replica) -> Attempt:
    """Begin an attempt on a replica, now."""
    attempt = Attempt(line.name, replica.name, 0.0, digest=replica.digest, start_s=time.perf_counter())
    if not replica.attempts:
        attempt.cold = True
    replica.attempts += 1
    return attempt


def note_reply(attempt: Attempt, replica: Replica, reply: Reply, stream: "EventStream | None" = None) -> float | None:
    """Note what a replica answered; return its service time, if it says something about the next request."""
    latency_s = attempt.latency_s = time.perf_counter() - attempt.start_s
    if replica.aside_until:
        replica.note_answer()
    if reply.status == 200 and not reply.is_stream:
        attempt.body = reply.body
        return latency_s
    _read_reply(attempt, reply, stream)
    return latency_s if attempt.failure is None else None


def note_loss(
    attempt: Attempt, replica: Replica, error: TimeoutError | LostConnection, timeout_s: float
) -> float | None:
    """Note that no answer came; return the time that a late replica took at least."""
    attempt.latency_s = time.perf_counter() - attempt.start_s
    if isinstance(error, LostConnection):
        attempt.failure, attempt.message, attempt.lost = FailureReason.ERROR, str(error), True
        replica.note_lost(asyncio.get_running_loop().time())
        return None
    attempt.failure, attempt.message = FailureReason.TIMEOUT, f"no answer within {timeout_s:.3g} s"
    return attempt.latency_s


def _never_begun(line: Line, start_s: float, failure: FailureReason, message: str) -> Attempt:
    waited_s = time.perf_counter() - start_s
    return Attempt(line.name, QUEUE, waited_s, waited_s, failure=failure, message=message, start_s=start_s)


class EventStream:
    """A worker's stream of ``PictureEvent``s: those on the way are told, the last is the answer."""

    def __init__(self, on_event: Events) -> None:
        self._on_event = on_event
        self._rest = b""
        self.last: PictureEvent | None = None

    @property
    def feed(self) -> Chunks:
        """What takes the chunks as they come."""
        return self._feed

    def _feed(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                self._tell(line)

    def _tell(self, line: bytes) -> None:
        try:
            event = PictureEvent.model_validate_json(line)
        except ValidationError:
            failure = WorkerFailure(reason=FailureReason.ERROR, message="the worker's stream can't be read")
            event = PictureEvent(kind="failure", failure=failure)
        if event.kind in {"picture", "failure"}:
            self.last = self.last or event
        else:
            self._on_event(event)


def _read_reply(attempt: Attempt, reply: Reply, stream: EventStream | None) -> None:
    if reply.status != 200:
        attempt.failure, attempt.message = _read_failure(reply.body, reply.status)
    elif stream is None or stream.last is None or (stream.last.image_png is None and stream.last.failure is None):
        attempt.failure, attempt.message = FailureReason.ERROR, "the worker's stream ended without a picture"
    elif stream.last.failure is not None:
        attempt.failure, attempt.message = stream.last.failure.reason, stream.last.failure.message
    else:
        attempt.body = stream.last.image_png or b""


def _read_failure(body: bytes, status: int) -> tuple[FailureReason, str]:
    try:
        told = WorkerFailure.model_validate_json(body)
    except ValidationError:
        return FailureReason.ERROR, f"the worker answered with status {status}"
    return told.reason, told.message

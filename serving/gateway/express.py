"""The express way: the usual request is served by callbacks, at half the processor time of a task.

What is unusual, at the beginning or on the way, goes on in a task from where it stands.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from serving.gateway.attempts import Attempt, make_attempt, note_loss, note_reply, open_attempt
from serving.gateway.dispatch import Answer, Dispatcher, Trying
from serving.gateway.exchange import Exchange
from serving.gateway.intake import Intake
from serving.gateway.lines import Line, Replica
from serving.gateway.upstream import Connection, LostConnection, Reply
from serving.gateway.whole import WholeExchange


class Desk(Protocol):
    """Who answers the client."""

    def finish(self, exchange: WholeExchange, intake: Intake, answers: list[Answer], start_s: float) -> None:
        """Answer with what arrived."""
        ...

    async def go_on(self, exchange: Exchange, intake: Intake, first: Trying, start_s: float) -> None:
        """Serve the rest in a task: the first attempt has failed, or must be made again."""
        ...


def begin_ride(desk: Desk, dispatcher: Dispatcher, exchange: WholeExchange, intake: Intake, start_s: float) -> bool:
    """Ask a replica if one is free and connected, and nothing has to be looked up, judged or waited for before."""
    service = intake.service
    if not service.is_express or (service.cache is not None and intake.repeatable):
        return False
    work, timeout_s = intake.works[0], service.timeout_s
    asked = work.encode(timeout_s)
    line, slot = dispatcher.assign(intake), service.slots[intake.lane]
    replica = line.take(slot.lane, slot.max_concurrency)
    if replica is None:
        return False
    connection = replica.upstream.take_idle()
    if connection is None:
        line.leave(replica, slot.lane)
        return False
    attempt = open_attempt(line, replica)
    ride = Ride(desk, dispatcher, exchange, intake, start_s, line, replica, connection, attempt)
    exchange.under_way = ride
    connection.ask(replica.upstream.request(work.path, asked, timeout_s), timeout_s, ride)
    return True


@dataclass(slots=True, eq=False)
class Ride:
    """One request under way: it holds a slot of a replica, and the connection on which it waits."""

    _desk: Desk
    _dispatcher: Dispatcher
    _exchange: WholeExchange
    _intake: Intake
    _start_s: float
    _line: Line
    _replica: Replica
    _connection: Connection
    _attempt: Attempt

    def take(self, reply: Reply) -> None:
        """Arrive: answer the client with a picture, or see in a task what a failure leads to."""
        self._replica.upstream.keep(self._connection)
        attempt = self._attempt
        self._leave(note_reply(attempt, self._replica, reply))
        if attempt.failure is not None:
            self._go_on(self._tell)
            return
        try:
            answers = self._dispatcher.conclude(self._intake, attempt, self._line)
            self._desk.finish(self._exchange, self._intake, answers, self._start_s)
        except Exception as error:  # noqa: BLE001 - as in a task: the front door answers it
            self._exchange.connection.run(self._exchange, failing(error))

    def lose(self, error: TimeoutError | LostConnection) -> None:
        """Go on in a task: the replica is late or lost, or had closed the idle connection before it was asked."""
        if isinstance(error, LostConnection) and error.unheard:
            self._leave(None)
            self._go_on(self._ask_again)
        else:
            self._leave(note_loss(self._attempt, self._replica, error, self._intake.service.timeout_s))
            self._go_on(self._tell)

    def cancel(self) -> None:
        """Stop: the client has gone."""
        self._connection.close()
        self._leave(None)
        self._dispatcher.count_gone(self._intake, self._line, time.perf_counter() - self._attempt.start_s)

    def _leave(self, service_s: float | None) -> None:
        self._exchange.under_way = None
        self._line.leave(self._replica, self._intake.lane, service_s)

    def _go_on(self, first: Trying) -> None:
        desk, exchange, intake, start_s = self._desk, self._exchange, self._intake, self._start_s
        exchange.connection.run(exchange, lambda _: desk.go_on(exchange, intake, first, start_s))

    async def _tell(self) -> Attempt:
        return self._attempt

    async def _ask_again(self) -> Attempt:
        intake, begun_s = self._intake, self._attempt.start_s
        waited_s = time.perf_counter() - begun_s
        left_s = max(0.001, intake.service.timeout_s - waited_s)
        attempt = await make_attempt(self._line, intake.works[0], intake.service.slots[intake.lane], timeout_s=left_s)
        attempt.start_s = begun_s
        attempt.latency_s += waited_s
        attempt.cold = attempt.cold or self._attempt.cold
        return attempt


def failing(error: Exception) -> Callable[[Exchange], Awaitable[None]]:
    """Return a handler that fails with an error, to have it answered like those of all handlers."""

    async def fail(exchange: Exchange) -> None:
        raise error

    return fail

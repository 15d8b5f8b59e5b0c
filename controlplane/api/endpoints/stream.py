"""The stream: decisions and events as they come, resumable without a gap and without a repetition."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import func, select

from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import DecisionRow
from controlplane.api.principal import Viewer
from controlplane.api.route import GuardedRoute
from controlplane.api.telling import tell_decision
from controlplane.store.schema import CHAINS, OUTBOX

router = APIRouter(route_class=GuardedRoute, tags=["stream"])
LOOK_EVERY_S = 0.5
RETRY_MS = 2000
AT_ONCE = 200
ID_PATTERN = r"^(?:[0-9]{1,15}-[0-9]{1,15})?$"
Position = tuple[int, int]
"""How many decisions were sent, and the number of the last event."""


@router.get("/stream", response_class=EventSourceResponse)
async def stream(
    request: Request,
    who: Viewer,
    context: Context,
    last_event_id: Annotated[str, Header(alias="Last-Event-ID", pattern=ID_PATTERN)] = "",
    since: Annotated[str, Query(pattern=ID_PATTERN, description="As Last-Event-ID: 0-0 is the very beginning.")] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Stream each ``decision`` and ``event`` as it is written; from now on, or after the id that was seen last.

    The first event, ``begin``, tells the position; an id names how many decisions and which event came before it.
    """
    asked = last_event_id or since
    at = _parse(asked) if asked else await run_in_threadpool(_now, context)
    yield ServerSentEvent(event="begin", id=_name(at), retry=RETRY_MS, data={"decisions": at[0], "events": at[1]})
    while not (context.home.feed.closed or await request.is_disconnected()):
        found = await run_in_threadpool(_after, context, at)
        for kind, document, position in found:
            at = position
            yield ServerSentEvent(event=kind, id=_name(at), data=document)
        if len(found) < AT_ONCE:
            await asyncio.sleep(LOOK_EVERY_S)


def _after(context: ApiContext, at: Position) -> list[tuple[str, dict[str, Any], Position]]:
    """Return what was written after a position, in the order of time, each with the position after it."""
    if _now(context) == at:
        return []
    decisions, last = at
    with context.stores.database.read() as connection:
        waiting = select(OUTBOX).where(OUTBOX.c.sequence > last).order_by(OUTBOX.c.sequence).limit(AT_ONCE)
        events = list(connection.execute(waiting))
    rows = []
    for entry in context.stores.ledger.entries(after=decisions - 1):
        rows.append(tell_decision(entry))
        if len(rows) >= AT_ONCE:
            break
    found: list[tuple[str, dict[str, Any], Position]] = []
    while rows or events:
        if rows and (not events or rows[0].at_s <= events[0].created_s):
            row = rows.pop(0)
            decisions = row.sequence + 1
            found.append(("decision", row.model_dump(include=set(DecisionRow.model_fields)), (decisions, last)))
        else:
            event = events.pop(0)
            last = int(event.sequence)
            told = {"topic": event.topic, "at_s": event.created_s, **json.loads(event.document)}
            found.append(("event", told, (decisions, last)))
    return found


def _now(context: ApiContext) -> Position:
    with context.stores.database.read() as connection:
        length = connection.execute(select(CHAINS.c.length).where(CHAINS.c.name == "decisions")).scalar_one()
        last = connection.execute(select(func.max(OUTBOX.c.sequence))).scalar()
    return int(length), int(last or 0)


def _parse(text: str) -> Position:
    decisions, _, event = text.partition("-")
    return int(decisions), int(event)


def _name(at: Position) -> str:
    return f"{at[0]}-{at[1]}"

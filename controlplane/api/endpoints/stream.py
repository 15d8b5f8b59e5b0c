"""The stream: decisions and events as they come, resumable without a gap and without a repetition."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, format_sse_event
from sqlalchemy import func, select
from starlette.responses import StreamingResponse

from contracts.errors import InvalidInput
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import DecisionRow, tell_decision
from controlplane.api.principal import Viewer
from controlplane.api.route import GuardedRoute
from controlplane.store.schema import CHAINS, OUTBOX

router = APIRouter(route_class=GuardedRoute, tags=["stream"])
LOOK_EVERY_S = 0.5
BEAT_S = 15.0
AT_ONCE = 200
ID = re.compile(r"(\d{1,15})-(\d{1,15})\Z")
Position = tuple[int, int]
"""How many decisions were sent, and the number of the last event."""


@router.get(
    "/stream",
    response_class=EventSourceResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def stream(
    request: Request,
    who: Viewer,
    context: Context,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,15}-[0-9]{1,15}$")] = None,
    since: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,15}-[0-9]{1,15}$", description="As Last-Event-ID: 0-0 is everything.")
    ] = None,
) -> StreamingResponse:
    """Stream each ``decision`` and ``event`` as it is written; from now on, or after the id that was seen last.

    The first event, ``begin``, tells the position; an id names how many decisions and which event came before it.
    """
    asked = last_event_id or since
    begin = _parse(asked) if asked is not None else await run_in_threadpool(_now, context)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_follow(request, context, begin), media_type="text/event-stream", headers=headers)


async def _follow(request: Request, context: ApiContext, begin: Position) -> AsyncIterator[bytes]:
    told = json.dumps({"decisions": begin[0], "events": begin[1]})
    yield format_sse_event(event="begin", id=_name(begin), retry=2000, data_str=told)
    at, quiet_s = begin, 0.0
    while not (context.home.feed.closed or await request.is_disconnected()):
        found = await run_in_threadpool(_after, context, at)
        for kind, document, at in found:
            yield format_sse_event(event=kind, id=_name(at), data_str=json.dumps(document, separators=(",", ":")))
        if len(found) >= AT_ONCE:
            continue
        quiet_s = 0.0 if found else quiet_s + LOOK_EVERY_S
        if quiet_s >= BEAT_S:
            quiet_s = 0.0
            yield format_sse_event(comment="still here")
        await asyncio.sleep(LOOK_EVERY_S)


def _after(context: ApiContext, at: Position) -> list[tuple[str, dict[str, Any], Position]]:
    """Return what was written after a position, in the order of time, each with the position after it."""
    decisions, last = at
    stores = context.stores
    if _now(context) == at:
        return []
    with stores.database.read() as connection:
        waiting = select(OUTBOX).where(OUTBOX.c.sequence > last).order_by(OUTBOX.c.sequence).limit(AT_ONCE)
        events = list(connection.execute(waiting))
    rows = []
    for entry in stores.ledger.entries(after=decisions - 1):
        rows.append(tell_decision(entry))
        if len(rows) >= AT_ONCE:
            break
    found = []
    while rows or events:
        if rows and (not events or rows[0].at_s <= events[0].created_s):
            row = rows.pop(0)
            decisions = row.sequence + 1
            found.append(("decision", row.model_dump(include=set(DecisionRow.model_fields)), (decisions, last)))
        else:
            event = events.pop(0)
            last = event.sequence
            told = {"topic": event.topic, "at_s": event.created_s, **json.loads(event.document)}
            found.append(("event", told, (decisions, last)))
    return found


def _now(context: ApiContext) -> Position:
    with context.stores.database.read() as connection:
        length = connection.execute(select(CHAINS.c.length).where(CHAINS.c.name == "decisions")).scalar_one()
        last = connection.execute(select(func.max(OUTBOX.c.sequence))).scalar()
    return int(length), int(last or 0)


def _parse(text: str) -> Position:
    match = ID.match(text)
    if match is None:
        raise InvalidInput("Last-Event-ID: it is not one of this stream's", hint="leave it out to begin now")
    return int(match[1]), int(match[2])


def _name(at: Position) -> str:
    return f"{at[0]}-{at[1]}"

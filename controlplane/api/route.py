"""What every endpoint of the API goes through: the door, idempotency keys, and entity tags."""

import hashlib
import json
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.responses import StreamingResponse

from contracts.errors import InvalidInput
from controlplane.api.context import ApiContext, context_of
from controlplane.api.doorkeeper import SAFE, counted_as
from controlplane.api.places import Seated
from controlplane.store.replies import Reply

PUBLIC = frozenset({"/health", "/session"})
KEY_PATTERN = r"^[\x21-\x7e]{1,200}$"
KEY = re.compile(KEY_PATTERN[:-1] + r"\Z")

IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", pattern=KEY_PATTERN, description="Asked again under it: the same answer, once."),
]
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def take_key(idempotency_key: IdempotencyKey = None) -> None:
    """Tell the API's description of the header; the route itself has read it by then."""


class GuardedRoute(APIRoute):
    """A route behind the door."""

    def get_route_handler(self) -> Handler:
        """Return the handler with all that surrounds it."""
        answer, public = super().get_route_handler(), self.path in PUBLIC

        async def handle(request: Request) -> Response:
            context = context_of(request)
            if public:
                await run_in_threadpool(context.doorkeeper.admit_stranger, request)
                return await answer(request)
            request.state.principal = await run_in_threadpool(context.doorkeeper.admit, request)
            if request.method in SAFE:
                response = await answer(request)
                if isinstance(response, StreamingResponse):
                    return Seated(response, context.places, counted_as(request, request.state.principal))
                return _with_tag(request, response)
            key = request.headers.get("idempotency-key")
            return await answer(request) if key is None else await _answer_once(context, request, key, answer)

        return handle


async def _answer_once(context: ApiContext, request: Request, key: str, answer: Handler) -> Response:
    """Answer a change under a key: what was answered before, or what is answered now, which is kept."""
    if not KEY.match(key):
        raise InvalidInput("Idempotency-Key: use 1 to 200 plain characters without spaces", hint="a UUID will do")
    actor = request.state.principal.actor
    asked = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    asked.update(await request.body())
    replies = context.replies
    before = await run_in_threadpool(replies.begin, key, actor, asked.hexdigest())
    if before is not None:
        return Response(before.body, before.status, {"idempotency-replayed": "true"}, "application/json")
    try:
        response = await answer(request)
    except BaseException:
        await run_in_threadpool(replies.forget, key, actor)
        raise
    body = getattr(request.state, "told_again", None) or bytes(response.body).decode()
    await run_in_threadpool(replies.finish, key, actor, Reply(response.status_code, body))
    return response


def _with_tag(request: Request, response: Response) -> Response:
    """Give an answer its tag, and answer 304 to somebody who has it already."""
    if response.status_code != 200:
        return response
    tag = response.headers.get("etag") or tag_of(bytes(response.body))
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(status_code=304, headers={"etag": tag})
    response.headers["etag"] = tag
    return response


def tag_of(body: bytes) -> str:
    """Return the entity tag of an answer."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def without(body: dict[str, Any], name: str) -> str:
    """Return a document as JSON with one value taken out: a secret is told once, and never kept."""
    return json.dumps({**body, name: None})

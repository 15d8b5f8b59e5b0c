"""Errors as ``application/problem+json`` (RFC 9457), with the codes and hints that the command line shows."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.errors import InvalidInput, NotFound, RoostError
from controlplane.api.flaws import Flaw, describe_flaws, sum_up
from controlplane.statuses import TooManyRequests, status_of

REFUSED_EARLY = frozenset({413, 421})
MEDIA_TYPE = "application/problem+json"


class ProblemDocument(BaseModel):
    """An error; programs match on ``code``, people read ``detail`` and ``hint``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    problems: list[Flaw] | None = None


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for status, text in {
        "4XX": "What was asked can't be done; nothing was changed.",
        "5XX": "Something that is needed doesn't answer, or isn't what it was.",
    }.items()
}


def add_problems(app: FastAPI, routes: Sequence[APIRoute]) -> None:
    """Let an application with these routes tell all its errors as problems."""

    @app.exception_handler(RoostError)
    def tell(request: Request, error: Exception) -> Response:
        return answer_problem(error) if isinstance(error, RoostError) else answer_problem(RoostError(str(error)))

    @app.exception_handler(RequestValidationError)
    def tell_flaws(request: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        return _answer_flaws(describe_flaws(found, request.headers.get("content-type", "")))

    @app.exception_handler(HTTPException)
    def tell_plain(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = {"allow": _methods(request, routes)} if status == 405 else {}
        return _answer(status, _plain(status), headers=headers)

    @app.exception_handler(Exception)
    def tell_nothing(request: Request, error: Exception) -> Response:
        # What went wrong stands in the log; it may name what no client should know.
        return answer_problem(RoostError("the request failed inside the control plane", hint="see its log"))


class PlainProblems:
    """Turns what is refused before any endpoint, in plain text, into problems: another host, a body too large."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] in REFUSED_EARLY:
                headers = dict(Headers(raw=message["headers"]))
                replaced = headers.pop("content-type", "") != MEDIA_TYPE
                headers.pop("content-length", None)
                if replaced:
                    await _answer(message["status"], _plain(message["status"]), headers)(scope, receive, send)
            if not replaced:
                await send(message)

        await self._app(scope, receive, send_problem)


def answer_problem(error: RoostError) -> Response:
    """Return an error as a response."""
    status = status_of(error)
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["retry-after"] = str(max(1, round(error.wait_s)))
    elif status == 503:
        headers["retry-after"] = "5"
    elif status == 401:
        headers["www-authenticate"] = 'Bearer realm="roost"'
    return _answer(status, error.to_dict(), headers=headers)


def _answer(status: int, told: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    document = {"type": f"urn:roost:problem:{told['code']}", "title": title, "status": status}
    rest = {name: value for name, value in told.items() if name != "message"}
    body = {**document, "detail": told["message"], **rest}
    return JSONResponse(body, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def _answer_flaws(flaws: Sequence[Flaw]) -> Response:
    message, hint = sum_up(flaws)
    told = InvalidInput(message, hint=hint).to_dict()
    return _answer(422, {**told, "problems": [flaw.model_dump() for flaw in flaws]})


def _methods(request: Request, routes: Sequence[APIRoute]) -> str:
    """Return all methods of an address; Starlette would name those of the first route alone."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    found = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
    return ", ".join(sorted(found))


def _plain(status: int) -> dict[str, str]:
    """Tell an error of HTTP itself: an address that isn't there, a method it doesn't take, a body too large."""
    told: dict[int, RoostError] = {
        400: InvalidInput("the body can't be read as JSON", hint="send a JSON object, nested no deeper than it needs"),
        404: NotFound("there is nothing at this address", hint="the API's description is at openapi.json"),
        405: InvalidInput("this address doesn't take this method", hint="the header Allow names those it takes"),
        413: InvalidInput(
            "the request is larger than this server takes", hint="send less, or raise max_body in access.yaml"
        ),
        421: InvalidInput("this server does not answer to this name", hint="see hosts in access.yaml"),
    }
    return told.get(status, InvalidInput(HTTPStatus(status).phrase)).to_dict()

"""The gate before the pages: who may not look is led to the login."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from contracts.errors import Unavailable
from controlplane.web.counter import NOBODY, Counter, Person

STATIC = "/static/"
OPEN = frozenset({"/login", "/logout"})
STREAM = "/live"


class Gate:
    """Recognises who asks for a page, with the API's own rules; without an API everybody on this machine may look."""

    def __init__(self, app: ASGIApp, counter: Counter | None) -> None:
        self._app, self._counter = app, counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or self._counter is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        path = request.url.path
        try:
            person = await self._counter.identify(request) if not path.startswith(STATIC) else NOBODY
        except Unavailable as error:
            answer = PlainTextResponse(f"{error.message}\n{error.hint}\n", status_code=503)
            await answer(scope, receive, send)
            return
        if person is None and path not in OPEN:
            await self._refuse(request)(scope, receive, send)
            return
        scope.setdefault("state", {})["person"] = person or NOBODY
        await self._app(scope, receive, send)

    def _refuse(self, request: Request) -> ASGIApp:
        if request.method != "GET" or request.url.path == STREAM:
            return PlainTextResponse("log in to look at this\n", status_code=401)
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(address)}", status_code=303)


def person_of(request: Request) -> Person:
    """Return who asks."""
    person = request.scope.get("state", {}).get("person", NOBODY)
    return person if isinstance(person, Person) else NOBODY

"""The review page as an application for loopback: forms, two pictures, strict headers; every answer is one POST."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from contracts.errors import InvalidInput, NotFound, RoostError
from controlplane.reviewing.desk import ReviewDesk
from controlplane.reviewing.page import (
    KEYS,
    STYLE,
    frame_alone,
    render_done,
    render_entry,
    render_nothing,
    render_problem,
    render_task,
)

HOSTS = ["127.0.0.1", "localhost", "[::1]"]
COOKIE = "rater"
LARGEST_BODY = 10_000
LONGEST_NAME = 60
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Handler = Callable[[Request], Awaitable[Response]]
FindDesk = Callable[[], ReviewDesk | None]
Frame = Callable[[str, str, Request], str]
"""Makes a whole page of its inside and of the path below which the review pages are, for one request."""
Who = Callable[[Request], str]
"""Returns the name of somebody who is logged in, "" where nobody is: then they name themselves."""


class ReviewPage:
    """The handlers; the desk is asked in a thread, for it reads a database. Without a desk nothing is to be judged."""

    def __init__(self, find_desk: FindDesk, frame: Frame, who: Who) -> None:
        self._find_desk, self._frame, self._who = find_desk, frame, who

    def page(self, body: str, request: Request, status: int = 200) -> Response:
        """Return a whole page."""
        return HTMLResponse(self._frame(body, _base(request), request), status_code=status)

    async def show(self, request: Request) -> Response:
        """Show what the rater is to judge now, or ask who it is."""
        rater = self._rater(request)
        desk = await run_in_threadpool(self._find_desk)
        if desk is None:
            return self.page(render_nothing(), request)
        if rater is None:
            return self.page(render_entry(_base(request)), request)
        shown = await run_in_threadpool(desk.next, rater)
        judged = await run_in_threadpool(desk.count_judged, rater)
        body = render_done(judged) if shown is None else render_task(shown, judged, _base(request))
        return self.page(body, request)

    async def enter(self, request: Request) -> Response:
        """Take the rater's name."""
        form = await _form(request)
        name = _checked_name(dict(form).get("rater", ""))
        base = _base(request)
        answer = RedirectResponse(f"{base}/", status_code=303)
        answer.set_cookie(COOKIE, quote(name), httponly=True, samesite="strict", path=base or "/")
        return answer

    async def judge(self, request: Request) -> Response:
        """Take one answer, then show the next item."""
        rater = self._rater(request)
        if rater is None:
            return RedirectResponse(f"{_base(request)}/", status_code=303)
        desk = await self._desk()
        form = await _form(request)
        fields = dict(form)
        reasons = [value for name, value in form if name == "reason"]
        await run_in_threadpool(
            desk.answer,
            rater,
            fields.get("item", ""),
            fields.get("choice", ""),
            reasons=reasons,
            note=fields.get("note", ""),
        )
        return RedirectResponse(f"{_base(request)}/", status_code=303)

    async def picture(self, request: Request) -> Response:
        """Return a picture of the item that is before the rater, and no other."""
        rater = self._rater(request)
        side = request.path_params["side"]
        if rater is None or side not in {"left", "right"}:
            raise NotFound("there is no such picture", hint="go to the first page")
        desk = await self._desk()
        image = await run_in_threadpool(desk.picture, rater, request.path_params["item"], left=side == "left")
        return Response(image, media_type="image/png")

    def _rater(self, request: Request) -> str | None:
        """Return whose judgement this is: a login's own name, else the one that was given on the first page."""
        return self._who(request) or _named(request)

    async def _desk(self) -> ReviewDesk:
        desk = await run_in_threadpool(self._find_desk)
        if desk is None:
            raise NotFound("nothing waits here to be judged", hint="roost review add FILE puts pairs into the queue")
        return desk


def review_app(desk: ReviewDesk, *, hosts: list[str] | None = None) -> Starlette:
    """Return the application; it answers requests for ``hosts`` only, by default those of this machine."""
    # A page elsewhere that resolves its name to this machine has its own name in Host: it is refused.
    guard = Middleware(TrustedHostMiddleware, allowed_hosts=hosts or HOSTS)
    return Starlette(
        routes=review_routes(lambda: desk, lambda body, base, _: frame_alone(body, base)), middleware=[guard]
    )


def review_routes(find_desk: FindDesk, frame: Frame, who: Who = lambda request: "") -> list[Route]:
    """Return the routes, to be mounted at any path of an application that checks the hosts it answers to."""
    page = ReviewPage(find_desk, frame, who)
    return [
        Route("/", _guarded(page, page.show)),
        Route("/enter", _guarded(page, page.enter), methods=["POST"]),
        Route("/judge", _guarded(page, page.judge), methods=["POST"]),
        Route("/picture/{item}/{side}", _guarded(page, page.picture)),
        Route("/style.css", _guarded(page, _text(STYLE, "text/css"))),
        Route("/keys.js", _guarded(page, _text(KEYS, "text/javascript"))),
    ]


def _guarded(page: ReviewPage, handler: Handler) -> Handler:
    """Refuse posts from other sites, turn errors into pages, and put the headers on every answer."""

    async def answer(request: Request) -> Response:
        try:
            if request.method == "POST" and not _is_own(request):
                raise InvalidInput("this form was sent from another site", hint="judge on this page")
            response = await handler(request)
        except RoostError as error:
            status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, InvalidInput) else 409
            response = page.page(render_problem(error.message, error.hint, _base(request)), request, status)
        response.headers.update(HEADERS)
        return response

    return answer


def _base(request: Request) -> str:
    """Return the path that the application is mounted at: "" at the root."""
    return str(request.scope.get("root_path", ""))


def _is_own(request: Request) -> bool:
    """Tell whether a post comes from this page: browsers say so in Sec-Fetch-Site, or in Origin."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    return origin is None or origin == f"{request.url.scheme}://{request.headers.get('host', '')}"


async def _form(request: Request) -> list[tuple[str, str]]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise InvalidInput("the form is too large", hint="write a shorter note")
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise InvalidInput("the form can't be read", hint="send it from this page") from None


def _named(request: Request) -> str | None:
    name = unquote(request.cookies.get(COOKIE, ""))
    try:
        return _checked_name(name) if name else None
    except InvalidInput:
        return None


def _checked_name(name: str) -> str:
    plain = " ".join(name.split())
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise InvalidInput("name: give one of up to 60 letters", hint="your judgements are kept under it")
    return plain


def _text(content: str, media_type: str) -> Handler:
    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer

"""The web application: pages, their streams, exports and static files, all of one home."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, FastAPI, Request
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from contracts.errors import InvalidInput, NotFound, RoostError
from controlplane.api.doorkeeper import address_of
from controlplane.api.places import Places, Seated
from controlplane.reviewing.app import review_routes
from controlplane.web.actions import add_actions, is_awaited, tell_offers
from controlplane.web.answering import Answering, page_asked
from controlplane.web.counter import Counter
from controlplane.web.gate import Gate, person_of
from controlplane.web.live import LiveDesk
from controlplane.web.pages import Page, Pages, read_filter
from controlplane.web.protection import HEADERS, LOOPBACK, Protection
from controlplane.web.rendering import FOLDER
from controlplane.web.safety import tell_holds
from controlplane.web.sources.home import Home
from controlplane.web.sources.reports import make_weekly
from controlplane.web.upkeep import tell_work
from controlplane.web.views.decisions import export_csv, export_json

LONGEST_ADDRESS = 2000
EXPORTS = {"csv": (export_csv, "text/csv; charset=utf-8"), "json": (export_json, "application/json")}


def make_app(
    home: Home, *, api: ASGIApp | None = None, hosts: Sequence[str] = LOOPBACK, places: Places | None = None
) -> FastAPI:
    """Return the application; it reads the home as long as it runs.

    With ``api``, the control plane's, people log in and ask for things, and it says who may look; without, the pages
    only read. ``places`` are those for its streams.
    """

    @asynccontextmanager
    async def following(_app: FastAPI) -> AsyncIterator[None]:
        await home.feed.catch_up()
        # MLflow takes seconds to be imported: nobody is kept waiting for it who asks for another page.
        tasks = [asyncio.create_task(home.feed.follow()), asyncio.create_task(home.shelf.follow())]
        yield
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        home.close()

    app = FastAPI(title="Roost", lifespan=following, docs_url=None, redoc_url=None, openapi_url=None)
    counter = Counter(api) if api is not None else None
    answering = Answering(home, counter)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.add_middleware(Gate, counter=counter)
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(Protection, hosts=hosts)
    _add_files(app, home)
    _add_review(app, answering)
    if counter is not None:
        actions = APIRouter(include_in_schema=False)
        add_actions(actions, answering, counter)
        app.include_router(actions)
    _add_pages(app, answering, places or Places())
    _add_errors(app, answering)
    return app


def _add_pages(app: FastAPI, answering: Answering, places: Places) -> None:
    """Add the pages and their streams."""
    home, counter = answering.home, answering.counter
    pages, desk = Pages(home, acts=counter is not None), LiveDesk(home)

    @app.get("/live", include_in_schema=False)
    async def live(page: str, after: int = -1, seen: str = "", *, request: Request) -> Response:
        """Stream what changes in the page at the address ``page``, from what its browser has ``seen`` on."""
        if len(page) > LONGEST_ADDRESS:
            raise InvalidInput("page: the address is too long")
        last_id = request.headers.get("last-event-id", "")
        after, seen = (int(last_id), "") if last_id.isdecimal() else (after, seen)
        try:
            parts = urlsplit(page)
        except ValueError:
            raise InvalidInput("page: this is no address of a page", hint="write /rollouts/ID") from None
        query = QueryParams({key: values[-1] for key, values in parse_qs(parts.query).items()})
        build = partial(pages.build, parts.path, query)
        await desk.look(page, build)
        events = desk.stream(page, build, after=after, seen=seen)
        stream = StreamingResponse(
            events, media_type="text/event-stream", headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        person = person_of(request)
        return Seated(stream, places, person.actor if person.is_known else address_of(request))

    @app.get("/{path:path}", include_in_schema=False)
    async def show(path: str, request: Request) -> Response:
        """Show a page."""
        try:
            look = await desk.look(page_asked(request), partial(pages.build, path, request.query_params), anew=True)
        except NotFound:
            if counter is None or not await is_awaited(counter, request, path):
                raise
            return answering.plain("awaited", path.rpartition("/")[2], {}, request)
        page = replace(look.page, context={**look.page.context, "seen": look.tag})
        if counter is not None and page.is_live:
            page = replace(page, context={**page.context, **await tell_person(counter, request, page)})
        return answering.page(page, request)


def _add_errors(app: FastAPI, answering: Answering) -> None:
    """Add how errors are told."""

    @app.exception_handler(RoostError)
    async def tell(request: Request, error: Exception) -> Response:
        """Show an error with its code and hint."""
        return answering.error(request, error)

    @app.exception_handler(Exception)
    async def confess(request: Request, error: Exception) -> Response:
        """Show that a page can't be made; what went wrong is logged."""
        answer = answering.error(request, RoostError("this page can't be made", hint="the server's log says why"))
        answer.headers.update(HEADERS)  # nothing else is asked any more where this is told
        return answer


async def tell_person(counter: Counter, request: Request, page: Page) -> dict[str, Any]:
    """Return what a page tells this person alone: what they may ask for."""
    if page.name == "rollout":
        return await tell_offers(counter, request, page.title)
    if page.name == "model":
        return await tell_work(counter, request, page.title)
    if page.name == "fleet":
        return {"guarded": await tell_holds(counter, request, page.context["now_s"])}
    return {}


def _add_files(app: FastAPI, home: Home) -> None:
    """Add what is not a page of ours: exports, pictures, reports; before the pages, which take every other address."""

    @app.get("/decisions.{kind}", include_in_schema=False)
    async def export(kind: str, request: Request) -> Response:
        """Export the decisions that a filter lets pass."""
        if kind not in EXPORTS:
            raise NotFound(f"decisions are not exported as {kind!r}", hint="csv and json are")
        write, media_type = EXPORTS[kind]
        disposition = {"content-disposition": f'attachment; filename="decisions.{kind}"'}
        wanted = read_filter(request.query_params, home.feed.chronicle.newest_s)
        rows = write(home.feed.chronicle, wanted)
        return StreamingResponse(rows, media_type=media_type, headers=disposition)

    @app.get("/pictures/{row}", include_in_schema=False)
    async def picture(row: int) -> Response:
        """Show an output that was kept to be looked at."""
        return Response(await home.telemetry.picture(row), media_type="image/png")

    @app.get("/reports/{week}/document", include_in_schema=False)
    async def document(week: str) -> Response:
        """Show a report by itself, as it would be sent."""
        report = await make_weekly(home.settings, week, home.now_s())
        headers = {"content-security-policy": report.policy, "x-frame-options": "SAMEORIGIN"}
        return HTMLResponse(report.html, headers=headers)


def _add_review(app: FastAPI, answering: Answering) -> None:
    """Add the pages on which people judge, blind."""

    def frame(body: str, base: str, request: Request) -> str:
        # The review pages escape what they are made of.
        inside = {"body": Markup(body), "base": base}  # noqa: S704
        return bytes(answering.plain("review", "Review", inside, request).body).decode()

    def who(request: Request) -> str:
        person = person_of(request)
        return person.actor if person.is_known else ""

    app.mount("/review", Starlette(routes=review_routes(answering.home.reviews.desk, frame, who)))

    @app.get("/review", include_in_schema=False)
    async def lead() -> Response:
        """Lead to the review pages."""
        return RedirectResponse("/review/")

"""The application that the control plane serves: pages, API and metrics under one address."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from contracts.errors import Unavailable
from controlplane.api.app import PREFIX
from controlplane.metrics.control import CONTENT_TYPE
from controlplane.web.protection import Protection


def join_apps(
    pages: FastAPI, api: FastAPI, render_metrics: Callable[[], Awaitable[bytes]], hosts: Sequence[str]
) -> Starlette:
    """Return one application that answers to ``hosts``; pages take what is neither the API's nor the metrics'."""

    @asynccontextmanager
    async def living(_app: Starlette) -> AsyncIterator[None]:
        # Nobody runs the life of an application that is mounted, but who mounts it.
        async with pages.router.lifespan_context(pages), api.router.lifespan_context(api):
            yield

    async def metrics(request: Request) -> Response:
        try:
            return Response(await render_metrics(), media_type=CONTENT_TYPE)
        except Unavailable as error:
            return PlainTextResponse(f"{error.message}\n", status_code=503)

    routes = [Mount(PREFIX, api), Route("/metrics", metrics), Mount("/", pages)]
    return Starlette(routes=routes, lifespan=living, middleware=[Middleware(Protection, hosts=hosts)])

"""The API as one application, to be mounted at ``/api/v1`` beside the pages."""

from importlib.metadata import version as distribution_version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from controlplane.api.context import ApiContext
from controlplane.api.endpoints import (
    access,
    fleet,
    jobs,
    quality,
    records,
    rehearsals,
    rollouts,
    safety,
    services,
    serving,
    silences,
    stream,
    versions,
)
from controlplane.api.flaws import Flaw
from controlplane.api.principal import role_of
from controlplane.api.problems import RESPONSES, PlainProblems, ProblemDocument, add_problems
from controlplane.api.route import PUBLIC
from controlplane.api.sessions import COOKIE
from controlplane.web.protection import LOOPBACK, Protection

PREFIX = "/api/v1"
ROLE_KEY = "x-roost-role"
ROUTERS = (
    services,
    rollouts,
    safety,
    silences,
    records,
    jobs,
    versions,
    serving,
    fleet,
    quality,
    rehearsals,
    access,
    stream,
)
ROUTES = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
ABOUT = "Everything that people and programs ask of Roost's control plane. Times are seconds since 1970 in UTC."


def make_api(context: ApiContext) -> FastAPI:
    """Return the API: mount it at ``PREFIX``. It answers to the loopback's names and to those in ``access.yaml``."""
    app = assemble()
    app.state.context = context
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=context.access.max_body)
    app.add_middleware(Protection, hosts=(*LOOPBACK, *context.access.hosts))
    app.add_middleware(PlainProblems)
    return app


def assemble() -> FastAPI:
    """Return the application with its endpoints and its description, and nothing that they work with."""
    app = FastAPI(
        title="Roost",
        version=distribution_version("roost"),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        responses=RESPONSES,
    )
    add_problems(app, ROUTES)
    for module in ROUTERS:
        app.include_router(module.router)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the problems that all endpoints share and how one is recognised."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=ABOUT, routes=app.routes, servers=app.servers
        )
        schemas = document["components"]["schemas"]
        for model in (Flaw, ProblemDocument):
            schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas[model.__name__].pop("$defs", None)
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "`rst_…`, or a token of the OIDC provider."},
            "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "See POST /session."},
        }
        document["security"] = [{"token": []}, {"session": []}]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                # Every error has the one form; FastAPI would tell its own for what can't be validated.
                operation["responses"].pop("422", None)
                if path in PUBLIC:
                    operation["security"] = []
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for route in ROUTES:
            for method in route.methods or ():
                document["paths"][route.path][method.lower()][ROLE_KEY] = role_of(route)
        app.openapi_schema = document
    return app.openapi_schema

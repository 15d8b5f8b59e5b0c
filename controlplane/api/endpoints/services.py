"""Services: applied, tried, listed, shown, with all their revisions."""

import json
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Response

from contracts.errors import InvalidInput, NotFound
from contracts.ids import VersionRef
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import ApplyBody, PreviewDocument, RevisionDocument, ServiceDocument
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import DryRun, ServiceName
from controlplane.api.principal import Operator, Viewer
from controlplane.api.route import GuardedRoute, tag_of, take_key
from controlplane.api.telling import tell_preview, tell_revision, tell_service
from controlplane.statuses import Outdated
from controlplane.store.documents import canonical

router = APIRouter(route_class=GuardedRoute, tags=["services"])
IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=200, description="The ETag of what was seen.")]


@router.get("/services")
def list_services(who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100) -> Page[ServiceDocument]:
    """List all services by name."""
    return cut([tell_service(view) for view in context.services.list()], cursor, limit)


@router.get("/services/{service}")
def show_service(service: ServiceName, who: Viewer, context: Context, response: Response) -> ServiceDocument:
    """Show a service as it stands; its ``ETag`` is what ``If-Match`` asks for when it is applied anew."""
    return _tagged(tell_service(context.services.show(service)), response)


@router.put("/services/{service}", dependencies=[Depends(take_key)])
def apply_service(
    service: ServiceName,
    body: ApplyBody,
    who: Operator,
    context: Context,
    response: Response,
    *,
    dry_run: DryRun = False,
    if_match: IfMatch = None,
) -> ServiceDocument | PreviewDocument:
    """Make a spec the newest revision of its service; the first time its champion is chosen, too."""
    spec = read_spec(body.spec)
    if spec.service != service:
        raise InvalidInput(f"spec.service: {spec.service!r} is not {service!r}", hint="apply it at its own address")
    champion = VersionRef.parse(body.champion) if body.champion is not None else None
    expected = body.expected if if_match is None else _expect(context, service, if_match, body.expected)
    if dry_run:
        return tell_preview(context.services.preview(spec, champion=champion, role=who.role))
    context.services.apply(
        spec, actor=who.actor, reason=body.reason, expected=expected, champion=champion, role=who.role
    )
    return _tagged(tell_service(context.services.show(service)), response)


@router.get("/services/{service}/revisions")
def list_revisions(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[RevisionDocument]:
    """List all revisions of a service, the newest first."""
    return cut([tell_revision(one) for one in context.stores.services.history(service)], cursor, limit)


@router.get("/services/{service}/revisions/{revision}")
def show_revision(
    service: ServiceName, revision: Annotated[int, Path(ge=1, le=2**31 - 1)], who: Viewer, context: Context
) -> RevisionDocument:
    """Show one revision of a service."""
    return tell_revision(context.stores.services.get(service, revision))


def read_spec(given: str | dict[str, object]) -> ServiceSpec:
    """Return the spec that a request holds, as text or as an object.

    Raises:
        SpecError: with every mistake in it.
        InvalidInput: when it isn't YAML.
    """
    return load_service_spec(given if isinstance(given, str) else json.dumps(given), subject="spec")


def _expect(context: ApiContext, service: str, seen: str, expected: int | None) -> int:
    """Return the revision that goes with the tag that the caller has seen.

    Raises:
        Outdated: when the service is another by now.
    """
    try:
        there = tell_service(context.services.show(service))
    except NotFound:
        raise Outdated(f"there is no service {service} yet", hint="leave out If-Match to make it") from None
    tags = [one.strip() for one in seen.split(",")]
    if ("*" not in tags and _tag(there) not in tags) or expected not in {None, there.revision}:
        raise Outdated(f"service {service} is not what you have seen", hint="read it again, then apply again")
    return there.revision


def _tagged(document: ServiceDocument, response: Response) -> ServiceDocument:
    response.headers["etag"] = _tag(document)
    return document


def _tag(document: ServiceDocument) -> str:
    return tag_of(canonical(document.model_dump(mode="json")).encode())

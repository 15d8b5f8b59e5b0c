"""Models and their versions."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from contracts.ids import VersionId, VersionRef
from controlplane.api.context import Context
from controlplane.api.documents import WHOLE, Body, OfferDocument, Reason, VersionDocument
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import ModelName, SomeVersion, VersionNumber
from controlplane.api.principal import Operator, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.api.telling import tell_offer, tell_version
from controlplane.desks.registrations import ACTION
from controlplane.desks.versions import VersionDesk

router = APIRouter(route_class=GuardedRoute, tags=["versions"])
MOST_AT_ONCE = 1000


class ModelDocument(BaseModel):
    """A registered model: how many versions it has, its newest, and where its aliases point."""

    name: str
    versions: int
    newest: str
    aliases: dict[str, str]


class AdoptBody(Body):
    """A version that somebody registered in the same MLflow, to be taken up."""

    number: Annotated[int, Field(ge=1, le=2**31 - 1), WHOLE]
    reason: Reason


@router.get("/models")
def list_models(who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100) -> Page[ModelDocument]:
    """List the registered models by name."""
    models: dict[str, ModelDocument] = {}
    page: str | None = None
    while True:
        found = context.catalogue.search(page=page, size=MOST_AT_ONCE)
        for record in found.versions:
            name = record.id.model
            one = models.setdefault(name, ModelDocument(name=name, versions=0, newest=str(record.id), aliases={}))
            one.versions += 1
            one.newest = max(one.newest, str(record.id), key=lambda text: VersionId.parse(text).number)
            one.aliases |= dict.fromkeys(record.aliases, str(record.id))
        page = found.next_page
        if page is None:
            return cut([models[name] for name in sorted(models)], cursor, limit)


@router.get("/models/{model}/versions")
def list_versions(
    model: ModelName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[VersionDocument]:
    """List the versions of a model, the newest first."""
    return cut([tell_version(record) for record in context.catalogue.list_versions(model)], cursor, limit)


@router.get("/models/{model}/versions/{number}")
def show_version(model: ModelName, number: VersionNumber, who: Viewer, context: Context) -> VersionDocument:
    """Show one version, by its number or by an alias such as ``champion``."""
    return tell_version(context.catalogue.get(VersionRef.parse(f"{model}@{number}")))


@router.get("/models/{model}/versions/{number}/actions")
def list_version_actions(model: ModelName, number: VersionNumber, who: Viewer, context: Context) -> Page[OfferDocument]:
    """List the jobs that may be asked for on a version, with what each does, or why not."""
    offers = VersionDesk(context.stores, context.catalogue).offers(VersionRef.parse(f"{model}@{number}"))
    return Page(items=[tell_offer(offer) for offer in offers], next=None)


@router.post("/models/{model}/versions", status_code=201, dependencies=[Depends(take_key)])
def adopt_version(model: ModelName, body: AdoptBody, who: Operator, context: Context) -> VersionDocument:
    """Take up a version that was registered in MLflow by other means; its files are inspected first."""
    version, database, audit = VersionId(model, body.number), context.stores.database, context.stores.audit
    told: dict[str, Any] = {"actor": who.actor, "subject": f"version/{version}", "reason": body.reason}
    # MLflow knows nothing of our transactions: who asks is written down before anything is taken up.
    with database.write() as connection:
        audit.write(connection, action="version.adopt", **told)
    record = context.catalogue.adopt(version, registered_by=(who.actor,))
    with database.write() as connection:
        audit.write(connection, action=ACTION, detail={"digest": record.digest}, **told)
    return tell_version(record)


@router.get("/comparisons", tags=["quality"])
def list_comparisons(one: SomeVersion, other: SomeVersion, who: Viewer, context: Context) -> Page[dict[str, object]]:
    """List the kept comparisons of two versions' bytes, the newest first."""
    first, second = (context.catalogue.get(VersionRef.parse(text)) for text in (one, other))
    return Page(items=context.find_comparisons(first, second), next=None)

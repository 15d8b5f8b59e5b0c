"""Safety: versions that are stopped or refused, champions that are taken back, and services that are frozen."""

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from contracts.ids import VersionRef
from controlplane.api.context import Context
from controlplane.api.documents import Body, Moment, OfferDocument, Reason, Version, WhyBody
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import DryRun, RecordId, ServiceName, Why
from controlplane.api.principal import AnyOperator, Operator, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.api.telling import tell_offer
from controlplane.desks.safety import KillView
from controlplane.store.freezes import ALL, Freeze
from controlplane.store.kills import Kill
from controlplane.store.rollouts import RolledBack
from controlplane.store.tokens import Role

router = APIRouter(route_class=GuardedRoute, tags=["safety"])


class KillBody(Body):
    """A version to be stopped."""

    version: Version
    reason: Reason


class ReadmissionBody(Body):
    """A version whose content may be tried again."""

    version: Version
    reason: Reason


class FreezeBody(Body):
    """A freeze: from now unless told, until it is lifted unless told."""

    reason: Reason
    from_s: Moment | None = None
    until_s: Moment | None = None


class KillDocument(BaseModel):
    """A version stopped in a service; ``effect`` is what follows from it now, ``lifted_s`` is null while it holds."""

    id: str
    service: str
    version: str
    at_s: float
    actor: str
    reason: str
    lifted_s: float | None
    effect: str


class RefusalDocument(BaseModel):
    """Content that a service refuses: the version and the rollout that it was rolled back as, when, and why."""

    service: str
    digest: str
    version: str
    rollout_id: str
    at_s: float
    reason: str


class FreezeDocument(BaseModel):
    """A freeze of one service, or of all ("*"); ``lifted_s`` is null while nobody lifted it."""

    id: str
    service: str
    from_s: float
    until_s: float | None
    actor: str
    reason: str
    lifted_s: float | None


@router.get("/services/{service}/kills")
def list_kills(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[KillDocument]:
    """List the versions that were stopped in a service, lifted ones too, the newest first."""
    context.stores.services.production(service)
    page = cut(context.stores.kills.of_service(service), cursor, limit)
    return Page(items=[_tell_kill(context.safety.tell_kill(kill)) for kill in page.items], next=page.next)


@router.post(
    "/services/{service}/kills",
    status_code=201,
    responses={200: {"model": OfferDocument}},
    dependencies=[Depends(take_key)],
)
def kill_version(
    service: ServiceName,
    body: KillBody,
    who: Operator,
    context: Context,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> KillDocument | OfferDocument:
    """Stop a version at once: it gets no traffic, a rollout of it ends, the version before takes a champion's place."""
    version = VersionRef.parse(body.version)
    if dry_run:
        response.status_code = 200
        return tell_offer(context.safety.offer_kill(service, version))
    return _tell_kill(context.safety.kill(service, version, actor=who.actor, reason=body.reason))


@router.delete("/kills/{kill}", dependencies=[Depends(take_key)])
def revive_version(kill: RecordId, reason: Why, who: AnyOperator, context: Context) -> KillDocument:
    """Let a stopped version be served again."""
    who.require(Role.OPERATOR, context.stores.kills.get(kill).service)
    return _tell_kill(context.safety.tell_kill(context.safety.revive(kill, actor=who.actor, reason=reason)))


@router.get("/services/{service}/refusals")
def list_refusals(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[RefusalDocument]:
    """List the contents that a service refuses because they were rolled back, the newest first."""
    return cut([_tell_refusal(past) for past in context.readmissions.list(service)], cursor, limit)


@router.post("/services/{service}/readmissions", status_code=201, dependencies=[Depends(take_key)])
def readmit_version(service: ServiceName, body: ReadmissionBody, who: Operator, context: Context) -> RefusalDocument:
    """Let content that was rolled back be tried again, for good; the answer tells how it had been rolled back."""
    version = VersionRef.parse(body.version)
    past = context.readmissions.readmit(service, version, actor=who.actor, reason=body.reason, role=who.role)
    return _tell_refusal(past)


@router.get("/services/{service}/actions")
def list_actions(service: ServiceName, who: Viewer, context: Context) -> Page[OfferDocument]:
    """List what may be asked of a service's production: going back to the version before, or why not."""
    return Page(items=[tell_offer(context.safety.offer_undo(service))], next=None)


@router.post("/services/{service}/undo", status_code=202, dependencies=[Depends(take_key)])
def undo_champion(service: ServiceName, body: WhyBody, who: Operator, context: Context) -> OfferDocument:
    """Go back to the version that was champion before; it takes over as soon as it is ready."""
    return tell_offer(context.safety.undo(service, actor=who.actor, reason=body.reason))


@router.get("/services/{service}/freezes")
def list_freezes(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[FreezeDocument]:
    """List a service's freezes by hand, those of all services and past ones too, the newest first."""
    context.stores.services.production(service)
    return cut([_tell_freeze(freeze) for freeze in context.stores.freezes.of_service(service)], cursor, limit)


@router.post("/services/{service}/freezes", status_code=201, dependencies=[Depends(take_key)])
def freeze_service(service: ServiceName, body: FreezeBody, who: Operator, context: Context) -> FreezeDocument:
    """Freeze a service: no rollout begins, and one that goes on is paused."""
    made = context.safety.freeze(service, actor=who.actor, reason=body.reason, from_s=body.from_s, until_s=body.until_s)
    return _tell_freeze(made)


@router.post("/freezes", status_code=201, dependencies=[Depends(take_key)])
def freeze_all(body: FreezeBody, who: Operator, context: Context) -> FreezeDocument:
    """Freeze every service."""
    made = context.safety.freeze(ALL, actor=who.actor, reason=body.reason, from_s=body.from_s, until_s=body.until_s)
    return _tell_freeze(made)


@router.delete("/freezes/{freeze}", dependencies=[Depends(take_key)])
def thaw_service(freeze: RecordId, reason: Why, who: AnyOperator, context: Context) -> FreezeDocument:
    """Lift a freeze; rollouts that it paused stay so until somebody resumes them."""
    who.require(Role.OPERATOR, context.stores.freezes.get(freeze).service or None)
    return _tell_freeze(context.safety.thaw(freeze, actor=who.actor, reason=reason))


def _tell_kill(view: KillView) -> KillDocument:
    return KillDocument(**{name: getattr(view.kill, name) for name in Kill.__slots__}, effect=view.effect)


def _tell_refusal(past: RolledBack) -> RefusalDocument:
    return RefusalDocument(**{name: getattr(past, name) for name in RolledBack.__slots__})


def _tell_freeze(freeze: Freeze) -> FreezeDocument:
    row = {name: getattr(freeze, name) for name in Freeze.__slots__}
    return FreezeDocument(**{**row, "service": freeze.service or "*"})

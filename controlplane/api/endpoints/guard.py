"""Safety: versions that are stopped, and services that are frozen."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from contracts.ids import NAME_PATTERN, VersionRef
from controlplane.api.context import Context
from controlplane.api.documents import Body, Reason, Version
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.principal import AnyOperator, Operator, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.store.freezes import ALL, Freeze
from controlplane.store.kills import Kill
from controlplane.store.tokens import Role

router = APIRouter(route_class=GuardedRoute, tags=["safety"])
Service = Annotated[str, Path(pattern=NAME_PATTERN, max_length=100)]
Identifier = Annotated[str, Path(pattern=r"^[0-9a-f]{12}$")]
WhyNow = Annotated[str, Query(min_length=1, max_length=2000, pattern=r"^[^\x00]*\S[^\x00]*$")]
LATEST_S = 2**33
"""The year 2242: times beyond it are mistakes."""


class KillBody(Body):
    """A version to be stopped."""

    version: Version
    reason: Reason


class FreezeBody(Body):
    """A freeze: from now unless told, until it is lifted unless told."""

    reason: Reason
    from_s: Annotated[float, Field(ge=0, le=LATEST_S)] | None = None
    until_s: Annotated[float, Field(ge=0, le=LATEST_S)] | None = None


class KillDocument(BaseModel):
    """A version stopped in a service; ``effect`` is told when it is stopped, ``lifted_s`` is null while that holds."""

    id: str
    service: str
    version: str
    at_s: float
    actor: str
    reason: str
    lifted_s: float | None
    effect: str = ""


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
    service: Service, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[KillDocument]:
    """List the versions that were stopped in a service, lifted ones too, the newest first."""
    context.stores.services.production(service)
    return cut([_tell_kill(kill) for kill in context.stores.kills.of_service(service)], cursor, limit)


@router.post("/services/{service}/kills", status_code=201, dependencies=[Depends(take_key)])
def kill_version(service: Service, body: KillBody, who: Operator, context: Context) -> KillDocument:
    """Stop a version at once: it gets no traffic, a rollout of it ends, the version before takes a champion's place."""
    told = {"actor": who.actor, "reason": body.reason}
    view = context.safety.kill(service, VersionRef.parse(body.version), **told)
    return _tell_kill(view.kill, view.effect)


@router.delete("/kills/{kill}", dependencies=[Depends(take_key)])
def revive_version(kill: Identifier, reason: WhyNow, who: AnyOperator, context: Context) -> KillDocument:
    """Let a stopped version be served again."""
    who.require(Role.OPERATOR, context.stores.kills.get(kill).service)
    return _tell_kill(context.safety.revive(kill, actor=who.actor, reason=reason))


@router.get("/services/{service}/freezes")
def list_freezes(
    service: Service, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[FreezeDocument]:
    """List a service's freezes by hand, those of all services and past ones too, the newest first."""
    context.stores.services.production(service)
    return cut([_tell_freeze(freeze) for freeze in context.stores.freezes.of_service(service)], cursor, limit)


@router.post("/services/{service}/freezes", status_code=201, dependencies=[Depends(take_key)])
def freeze_service(service: Service, body: FreezeBody, who: Operator, context: Context) -> FreezeDocument:
    """Freeze a service: no rollout begins, and one that goes on is paused."""
    made = context.safety.freeze(service, actor=who.actor, reason=body.reason, from_s=body.from_s, until_s=body.until_s)
    return _tell_freeze(made)


@router.post("/freezes", status_code=201, dependencies=[Depends(take_key)])
def freeze_all(body: FreezeBody, who: Operator, context: Context) -> FreezeDocument:
    """Freeze every service."""
    made = context.safety.freeze(ALL, actor=who.actor, reason=body.reason, from_s=body.from_s, until_s=body.until_s)
    return _tell_freeze(made)


@router.delete("/freezes/{freeze}", dependencies=[Depends(take_key)])
def thaw_service(freeze: Identifier, reason: WhyNow, who: AnyOperator, context: Context) -> FreezeDocument:
    """Lift a freeze; rollouts that it paused stay so until somebody resumes them."""
    who.require(Role.OPERATOR, context.stores.freezes.get(freeze).service or None)
    return _tell_freeze(context.safety.thaw(freeze, actor=who.actor, reason=reason))


def _tell_kill(kill: Kill, effect: str = "") -> KillDocument:
    return KillDocument(**{name: getattr(kill, name) for name in Kill.__slots__}, effect=effect)


def _tell_freeze(freeze: Freeze) -> FreezeDocument:
    row = {name: getattr(freeze, name) for name in Freeze.__slots__}
    return FreezeDocument(**{**row, "service": freeze.service or "*"})

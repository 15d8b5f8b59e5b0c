"""Silences: objectives and monitors that nobody is told of for a while."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from contracts.ids import Name
from controlplane.api.context import Context
from controlplane.api.documents import Body, Moment, Reason
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import RecordId, ServiceName, Why
from controlplane.api.principal import AnyOperator, Operator, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.store.silences import Silence
from controlplane.store.tokens import Role

router = APIRouter(route_class=GuardedRoute, tags=["safety"])


class SilenceBody(Body):
    """An objective or a monitor, and until when nobody is told how it burns or of its alarms."""

    objective: Name
    until_s: Moment
    reason: Reason


class SilenceDocument(BaseModel):
    """One silence; ``lifted_s`` is null unless somebody ended it before its time."""

    id: str
    service: str
    objective: str
    at_s: float
    until_s: float
    actor: str
    reason: str
    lifted_s: float | None


@router.get("/services/{service}/silences")
def list_silences(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[SilenceDocument]:
    """List a service's silences, past ones too, the newest first."""
    context.stores.services.production(service)
    return cut([_tell(silence) for silence in context.stores.silences.of_service(service)], cursor, limit)


@router.post("/services/{service}/silences", status_code=201, dependencies=[Depends(take_key)])
def silence_objective(service: ServiceName, body: SilenceBody, who: Operator, context: Context) -> SilenceDocument:
    """Let nobody be told how an objective burns, or of a monitor's alarms, until a time; all else stays the same."""
    made = context.silencing.silence(service, body.objective, until_s=body.until_s, actor=who.actor, reason=body.reason)
    return _tell(made)


@router.delete("/silences/{silence}", dependencies=[Depends(take_key)])
def lift_silence(silence: RecordId, reason: Why, who: AnyOperator, context: Context) -> SilenceDocument:
    """End a silence before its time."""
    who.require(Role.OPERATOR, context.stores.silences.get(silence).service)
    return _tell(context.silencing.lift(silence, actor=who.actor, reason=reason))


def _tell(silence: Silence) -> SilenceDocument:
    return SilenceDocument(**{name: getattr(silence, name) for name in Silence.__slots__})

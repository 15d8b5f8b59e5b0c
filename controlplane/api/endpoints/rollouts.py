"""Rollouts: started, shown with what may be asked next, and acted upon."""

from typing import Annotated, TypedDict

from fastapi import APIRouter, Depends, Query, Response

from contracts.ids import NAME_PATTERN, VersionRef
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import (
    ActionBody,
    RolloutDocument,
    RolloutRow,
    StartBody,
    StartPreview,
    WishDocument,
)
from controlplane.api.paging import Cursor, Limit, Page, page_by_offset
from controlplane.api.parameters import DryRun, RolloutId
from controlplane.api.principal import AnyOperator, AnyViewer, Principal, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.api.telling import tell_rollout, tell_row, tell_start, tell_wish
from controlplane.store.tokens import Role
from rollout.phases import ManualAction, ManualKind, Phase

router = APIRouter(route_class=GuardedRoute, tags=["rollouts"])


class _Told(TypedDict):
    actor: str
    reason: str
    force: bool
    role: Role


@router.get("/rollouts")
def list_rollouts(
    who: Viewer,
    context: Context,
    *,
    service: Annotated[str | None, Query(pattern=NAME_PATTERN, max_length=100)] = None,
    phase: Phase | None = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[RolloutRow]:
    """List rollouts, the newest first."""
    journal = context.journal
    found = journal.rollouts(service=service, phase=phase, skip=cursor or 0, at_most=limit + 1)
    newest = journal.newest_of([row.id for row in found])
    return page_by_offset([tell_row(row, newest.get(row.id)) for row in found], cursor, limit)


@router.post("/rollouts", status_code=201, responses={200: {"model": StartPreview}}, dependencies=[Depends(take_key)])
def start_rollout(
    body: StartBody,
    who: AnyOperator,
    context: Context,
    response: Response,
    *,
    dry_run: DryRun = False,
) -> RolloutDocument | StartPreview:
    """Start a rollout of a version; the leader takes it up at its next step."""
    who.require(Role.OPERATOR, body.service)
    version = VersionRef.parse(body.version)
    told = _Told(actor=who.actor, reason=body.reason, force=body.force, role=who.role)
    if dry_run:
        response.status_code = 200
        return tell_start(context.rollouts.check(body.service, version, **told))
    return _show(context, context.rollouts.start(body.service, version, **told).id, who)


@router.get("/rollouts/{rollout}")
def show_rollout(rollout: RolloutId, who: AnyViewer, context: Context) -> RolloutDocument:
    """Show a rollout, with each action that may be asked of it now, its effect in numbers, or why it may not."""
    who.require(Role.VIEWER, context.stores.rollouts.get(rollout).service)
    return _show(context, rollout, who)


@router.post("/rollouts/{rollout}/actions", status_code=202, dependencies=[Depends(take_key)])
def act_on_rollout(rollout: RolloutId, body: ActionBody, who: AnyOperator, context: Context) -> WishDocument:
    """Ask something of a rollout; the leader meets it at its next step, or tells why not."""
    who.require(Role.OPERATOR, context.stores.rollouts.get(rollout).service)
    action = ManualAction(ManualKind(body.kind), who.actor, body.reason, tuple(body.gates))
    return tell_wish(context.rollouts.act(rollout, action, role=who.role))


def _show(context: ApiContext, rollout_id: str, who: Principal) -> RolloutDocument:
    offers = context.rollouts.offers(rollout_id, actor=who.actor, role=who.role)
    return tell_rollout(context.rollouts.show(rollout_id), offers)

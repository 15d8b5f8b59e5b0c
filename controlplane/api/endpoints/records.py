"""What was decided and changed: the ledger and the audit, and whether anybody tampered with them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel

from contracts.errors import IntegrityError, NotFound
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import ID_PATTERN, DecisionDocument, DecisionRow
from controlplane.api.paging import Cursor, Limit, Page
from controlplane.api.principal import AnyViewer, Operator, Principal, Viewer
from controlplane.api.route import GuardedRoute
from controlplane.api.telling import tell_decision
from controlplane.store.checkpoints import Checkpoints
from controlplane.store.tokens import Role

router = APIRouter(route_class=GuardedRoute, tags=["decisions"])


class ChangeRecord(BaseModel):
    """One change that somebody asked for."""

    sequence: int
    at_s: float
    actor: str
    action: str
    subject: str
    reason: str
    detail: dict[str, Any]


class Verification(BaseModel):
    """Whether every record is bound to the one before it; ``problem`` names the first that is not."""

    intact: bool
    decisions: int | None
    changes: int | None
    checkpoints: int
    problem: str


@router.get("/decisions")
def list_decisions(
    who: AnyViewer,
    context: Context,
    subject: Annotated[str | None, Query(pattern=ID_PATTERN, max_length=200, description="A rollout's id.")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[DecisionRow]:
    """List decisions, the newest first, of one rollout or of all."""
    _require(who, context, subject)
    found = context.journal.page(subject, before=cursor, at_most=limit + 1)
    rows = [DecisionRow(**tell_decision(entry).model_dump(include=set(DecisionRow.model_fields))) for entry in found]
    return Page(items=rows[:limit], next=rows[limit - 1].sequence if len(rows) > limit else None)


@router.get("/decisions/verification")
def verify(who: Viewer, context: Context) -> Verification:
    """Recompute both chains, and compare them with the checkpoints that were signed."""
    checkpoints = Checkpoints(context.settings.checkpoints, context.settings.checkpoint_key)
    decisions = changes = None
    count, problem = 0, ""
    try:
        known = checkpoints.heads()
        count = len(known)
        decisions = context.stores.ledger.verify(known)
        changes = context.stores.audit.verify(known)
    except IntegrityError as error:
        problem = error.message
    return Verification(intact=not problem, decisions=decisions, changes=changes, checkpoints=count, problem=problem)


@router.get("/decisions/{sequence}")
def show_decision(
    sequence: Annotated[int, Path(ge=0, le=10**12)], who: AnyViewer, context: Context
) -> DecisionDocument:
    """Show a decision with all that it was made from: raw counts, policy digest, code version."""
    entry = context.journal.get(sequence)
    _require(who, context, entry.rollout_id)
    return tell_decision(entry)


@router.get("/audit")
def list_changes(
    who: Operator,
    context: Context,
    subject: Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Page[ChangeRecord]:
    """List changes in their order, of one subject (``service/tags``, ``rollout/…``, ``token/…``) or of all."""
    found = context.stores.audit.changes(subject, after=-1 if cursor is None else cursor)
    rows = [ChangeRecord(**{name: getattr(one, name) for name in ChangeRecord.model_fields}) for one in found]
    return Page(items=rows[:limit], next=rows[limit - 1].sequence if len(rows) > limit else None)


def _require(who: Principal, context: ApiContext, rollout_id: str | None) -> None:
    """Refuse somebody whose token is for other services than the rollout's."""
    try:
        service = context.stores.rollouts.get(rollout_id).service if rollout_id is not None else None
    except NotFound:
        service = None
    who.require(Role.VIEWER, service)

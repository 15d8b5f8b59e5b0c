"""Rows and views told as the documents of the API."""

import math
from contextlib import suppress
from typing import Any

from contracts.errors import InvalidInput
from controlplane.api.documents import (
    ChangeDocument,
    Decided,
    DecisionDocument,
    JobDocument,
    OfferDocument,
    PreviewDocument,
    RevisionDocument,
    RolloutDocument,
    RolloutRow,
    ServiceDocument,
    StartPreview,
    TokenDocument,
    VersionDocument,
    WishDocument,
)
from controlplane.desks.offers import Offer
from controlplane.desks.rollouts import RolloutView
from controlplane.desks.services import Preview, ServiceView
from controlplane.jobs.job import Job
from controlplane.loop.room import read_room
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import Start, StoredRollout
from controlplane.store.services import ServiceRevision
from controlplane.store.tokens import Token
from controlplane.store.wishes import Wish
from registry.catalogue import VersionRecord
from rollout.state import State


def tell_preview(preview: Preview) -> PreviewDocument:
    """Return a dry run as a document."""
    changes = [ChangeDocument(path=one.path, before=one.before, after=one.after) for one in preview.changes]
    champion = str(preview.champion) if preview.champion is not None else None
    told = {name: getattr(preview, name) for name in ("service", "before", "after", "crowned", "note")}
    return PreviewDocument(**told, changes=changes, champion=champion)


def tell_service(view: ServiceView) -> ServiceDocument:
    """Return a service as a document."""
    revision = tell_revision(view.revision)
    return ServiceDocument(
        **revision.model_dump(),
        model=view.revision.spec.model,
        champion=view.production.champion,
        previous=view.production.previous,
        champion_since_s=view.production.since_s,
        rollout=view.rollout.id if view.rollout is not None else None,
        note=view.note,
    )


def tell_revision(revision: ServiceRevision) -> RevisionDocument:
    """Return a revision as a document."""
    told = {name: getattr(revision, name) for name in ("revision", "digest", "at_s", "actor", "reason")}
    return RevisionDocument(**told, name=revision.service, spec=revision.spec.model_dump(mode="json"))


def tell_start(start: Start) -> StartPreview:
    """Return what a rollout would begin with as a document."""
    return StartPreview(
        service=start.service,
        service_revision=start.service_revision,
        champion=start.state.champion,
        challenger=start.state.challenger,
        digest=start.digest,
        headroom=_tell_headroom(start.room),
    )


def tell_row(row: StoredRollout, newest: Entry | None) -> RolloutRow:
    """Return a rollout of a list as a document."""
    same = {name: getattr(row, name) for name in RolloutRow.model_fields if hasattr(row, name)}
    return RolloutRow(
        **same,
        weight=_read_weight(row, newest),
        weight_applied=newest.observation.get("weight_applied") if newest is not None else None,
        decision=_tell_decided(newest) if newest is not None else None,
    )


def _read_weight(row: StoredRollout, newest: Entry | None) -> float:
    """Return the share that was asked for last, also of a rollout whose state can't be read."""
    with suppress(InvalidInput):
        return State.from_json(row.state).weight
    return float(newest.decision.get("weight", 0.0)) if newest is not None else 0.0


def _tell_decided(entry: Entry) -> Decided:
    told = entry.decision
    code, sentence, verdicts = told.get("reason", ""), told.get("sentence", ""), told.get("verdicts", [])
    return Decided(sequence=entry.sequence, at_s=entry.at_s, code=code, sentence=sentence, verdicts=verdicts)


def tell_rollout(view: RolloutView, offers: list[Offer]) -> RolloutDocument:
    """Return a rollout as a document."""
    state = view.state
    return RolloutDocument(
        **tell_row(view.row, view.newest).model_dump(),
        mirror_share=state.mirror_share if state is not None else 0.0,
        step=state.step if state is not None else 0,
        phase_since_s=state.phase_since_s if state is not None else view.row.updated_s,
        muted=list(state.muted) if state is not None else [],
        problem=view.problem,
        headroom=_tell_headroom(view.row.room),
        actions=[tell_offer(offer) for offer in offers],
        wishes=[tell_wish(wish) for wish in view.wishes],
    )


def _tell_headroom(text: str) -> str:
    room = read_room(text)
    return room.sentence if room is not None else ""


def tell_offer(offer: Offer) -> OfferDocument:
    """Return what may be asked as a document."""
    return OfferDocument(name=offer.name, allowed=offer.allowed, why_not=offer.why_not, effect=offer.effect)


def tell_wish(wish: Wish) -> WishDocument:
    """Return what was asked of a rollout as a document."""
    return WishDocument(
        sequence=wish.sequence,
        rollout=wish.rollout,
        kind=wish.action.kind.value,
        actor=wish.action.actor,
        reason=wish.action.reason,
        gates=list(wish.action.gates),
        asked_s=wish.asked_s,
        met_s=wish.met_s,
        refusal=wish.refusal,
    )


def tell_decision(entry: Entry) -> DecisionDocument:
    """Return a decision as a document."""
    told = entry.decision
    return DecisionDocument(
        sequence=entry.sequence,
        at_s=entry.at_s,
        rollout_id=entry.rollout_id,
        champion=told.get("champion", ""),
        challenger=told.get("challenger", ""),
        phase=told.get("phase", ""),
        weight=told.get("weight", 0.0),
        code=told.get("reason", ""),
        sentence=told.get("sentence", ""),
        digest=entry.digest,
        policy_digest=entry.policy_digest,
        code_version=entry.code_version,
        observation=entry.observation,
        decision=told,
        previous=entry.previous,
    )


def tell_job(job: Job) -> JobDocument:
    """Return a job as a document."""
    return JobDocument(**{name: getattr(job, name) for name in JobDocument.model_fields})


def tell_token(token: Token) -> TokenDocument:
    """Return a token as a document."""
    told = {name: getattr(token, name) for name in TokenDocument.model_fields}
    return TokenDocument(**{**told, "role": token.role.value, "scopes": list(token.scopes)})


def tell_version(record: VersionRecord) -> VersionDocument:
    """Return a version as a document."""
    return VersionDocument(
        version=str(record.id),
        model=record.id.model,
        number=record.id.number,
        digest=record.digest,
        size_bytes=record.size_bytes,
        created_s=record.created_s,
        description=record.description,
        parent=str(record.parent) if record.parent is not None else None,
        recipe=record.lineage.recipe,
        aliases=list(record.aliases),
        state=record.state.value,
        defaults=record.defaults.model_dump(mode="json"),
    )


def finite(document: Any) -> Any:
    """Return a document without the numbers that JSON doesn't have; they are null."""
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document

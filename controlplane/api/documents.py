"""Documents that the API takes and gives; times are seconds since 1970 in UTC."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.errors import InvalidInput
from contracts.ids import NAME_PATTERN
from controlplane.desks.offers import Offer
from controlplane.desks.rollouts import RolloutView
from controlplane.desks.services import Preview, ServiceView
from controlplane.jobs.job import Job
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import Start, StoredRollout
from controlplane.store.services import ServiceRevision
from controlplane.store.tokens import Token
from controlplane.store.wishes import Wish
from registry.catalogue import VersionRecord
from rollout.state import State

VERSION_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?@[A-Za-z0-9][A-Za-z0-9_-]{0,98}$"
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]
Version = Annotated[str, Field(pattern=VERSION_PATTERN, max_length=200, examples=["tags@13", "tags@champion"])]
Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S", description="Why; it is recorded.")]
SpecText = Annotated[
    str | dict[str, Any],
    Field(description="The spec: YAML text, or the same as an object.", examples=["service: tags\nmodel: price-tags"]),
]


def _as_whole(value: object) -> object:
    """JSON knows one kind of number: 3.0 is the whole number 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_as_whole)


class Body(BaseModel):
    """What is sent to the API; unknown keys are refused, and nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _can_be_stored(cls, value: object) -> object:
        if not _is_storable(value):
            raise InvalidInput("the request holds NUL or half a character, which no text has", hint="take it out")
        return value


class ApplyBody(Body):
    """A spec to be applied; ``champion`` names the first version that serves, ``expected`` the revision seen."""

    spec: SpecText
    reason: Reason
    champion: Version | None = None
    expected: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] | None = None


class StartBody(Body):
    """A rollout to be started; ``force`` insists on what was rolled back or refused before."""

    service: Name
    version: Version
    reason: Reason
    force: bool = False


class ActionBody(Body):
    """What is asked of a rollout; ``gates`` names those that an override silences, none of them means all."""

    kind: Literal["pause", "resume", "promote-step", "promote-all", "abort", "override"]
    reason: Reason
    gates: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] = Field(
        default_factory=list
    )


class ChangeDocument(BaseModel):
    """One value that a spec changes; null where it isn't there."""

    path: str
    before: Any
    after: Any


class PreviewDocument(BaseModel):
    """What applying a spec would do."""

    service: str
    before: int
    after: int
    changes: list[ChangeDocument]
    champion: str | None
    crowned: bool
    note: str


class ServiceDocument(BaseModel):
    """A service as it stands; ``rollout`` is the one in progress, ``note`` what somebody has to see to."""

    name: str
    model: str
    revision: int
    digest: str
    at_s: float
    actor: str
    reason: str
    champion: str | None
    previous: str | None
    champion_since_s: float | None
    rollout: str | None
    note: str
    spec: dict[str, Any]


class RevisionDocument(BaseModel):
    """One revision of a service's spec, applied at ``at_s``."""

    name: str
    revision: int
    digest: str
    at_s: float
    actor: str
    reason: str
    spec: dict[str, Any]


class OfferDocument(BaseModel):
    """An action: ``why_not`` when it is not allowed to whoever asks, ``effect`` when it is."""

    name: str
    allowed: bool
    why_not: str
    effect: str


class WishDocument(BaseModel):
    """What a person asked of a rollout; ``met_s`` is null until it was taken, ``refusal`` why it was not done."""

    sequence: int
    rollout: str
    kind: str
    actor: str
    reason: str
    gates: list[str]
    asked_s: float
    met_s: float | None
    refusal: str


class StartPreview(BaseModel):
    """What a rollout would begin with, were it started now."""

    service: str
    service_revision: int
    champion: str
    challenger: str
    digest: str


class Decided(BaseModel):
    """The last decision on a rollout, with what every gate says."""

    sequence: int
    at_s: float
    code: str
    sentence: str
    verdicts: list[dict[str, Any]]


class RolloutRow(BaseModel):
    """A rollout in a list.

    ``reason`` is why it was started, ``weight`` the share that was asked for and ``weight_applied`` what the gateways
    acknowledged. ``decision`` is null until the leader has taken it up.
    """

    id: str
    service: str
    generation: int
    service_revision: int
    champion: str
    challenger: str
    phase: str
    ended: bool
    weight: float
    weight_applied: float | None
    decision: Decided | None
    created_s: float
    updated_s: float
    digest: str
    actor: str
    reason: str
    forced: bool


class RolloutDocument(RolloutRow):
    """A rollout as it stands, with what may be asked of it now and what was asked of it before."""

    mirror_share: float
    step: int
    phase_since_s: float
    muted: list[str]
    actions: list[OfferDocument]
    wishes: list[WishDocument]


class DecisionRow(BaseModel):
    """One decision in a list."""

    sequence: int
    at_s: float
    rollout_id: str
    champion: str
    challenger: str
    phase: str
    weight: float
    code: str
    sentence: str
    digest: str


class DecisionDocument(DecisionRow):
    """One decision with all that it was made from; ``previous`` is the digest of the one before."""

    policy_digest: str
    code_version: str
    observation: dict[str, Any]
    decision: dict[str, Any]
    previous: str


class JobDocument(BaseModel):
    """One job; ``progress`` is from 0 to 1."""

    id: str
    kind: str
    queue: str
    state: str
    arguments: dict[str, Any]
    actor: str
    reason: str
    priority: int
    attempts: int
    max_attempts: int
    progress: float
    message: str
    cancel: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_s: float
    started_s: float | None
    ended_s: float | None


class TokenDocument(BaseModel):
    """A token without its secret; no ``scopes`` means all services."""

    id: str
    holder: str
    role: str
    scopes: list[str]
    created_s: float
    created_by: str
    expires_s: float | None
    revoked_s: float | None


class VersionDocument(BaseModel):
    """One registered version."""

    version: str
    model: str
    number: int
    digest: str
    size_bytes: int
    created_s: float
    description: str
    parent: str | None
    recipe: str
    aliases: list[str]
    state: str
    defaults: dict[str, Any]


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
    )


def tell_row(row: StoredRollout, newest: Entry | None) -> RolloutRow:
    """Return a rollout of a list as a document."""
    state = State.from_json(row.state)
    same = {name: getattr(row, name) for name in RolloutRow.model_fields if hasattr(row, name)}
    return RolloutRow(
        **same,
        weight=state.weight,
        weight_applied=newest.observation.get("weight_applied") if newest is not None else None,
        decision=_tell_decided(newest) if newest is not None else None,
    )


def _tell_decided(entry: Entry) -> Decided:
    told = entry.decision
    code, sentence, verdicts = told.get("reason", ""), told.get("sentence", ""), told.get("verdicts", [])
    return Decided(sequence=entry.sequence, at_s=entry.at_s, code=code, sentence=sentence, verdicts=verdicts)


def tell_rollout(view: RolloutView, offers: list[Offer]) -> RolloutDocument:
    """Return a rollout as a document."""
    state = view.state
    return RolloutDocument(
        **tell_row(view.row, view.newest).model_dump(),
        mirror_share=state.mirror_share,
        step=state.step,
        phase_since_s=state.phase_since_s,
        muted=list(state.muted),
        actions=[OfferDocument(name=o.name, allowed=o.allowed, why_not=o.why_not, effect=o.effect) for o in offers],
        wishes=[tell_wish(wish) for wish in view.wishes],
    )


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


def _is_storable(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_storable(key) and _is_storable(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(_is_storable(inner) for inner in value)
    return not isinstance(value, str) or not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in value)

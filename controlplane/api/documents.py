"""Documents that the API takes and gives; times are seconds since 1970 in UTC."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from contracts.errors import InvalidInput
from contracts.ids import NAME_PATTERN

NUMBER_PATTERN = r"^(?:[1-9][0-9]{0,17}|[A-Za-z][A-Za-z0-9_-]{0,98})$"
VERSION_PATTERN = f"{NAME_PATTERN[:-1]}@{NUMBER_PATTERN[1:]}"
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=100)]
Version = Annotated[str, Field(pattern=VERSION_PATTERN, max_length=200, examples=["tags@13", "tags@champion"])]
LATEST_S = 2**33
"""The year 2242: times beyond it are mistakes."""
Moment = Annotated[float, Field(ge=0, le=LATEST_S)]
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


class WhyBody(Body):
    """Why something is asked for."""

    reason: Reason


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
    """What a rollout would begin with, were it started now.

    ``headroom`` tells whether the workers of both versions fit, and what is done when not; "" where nobody knows.
    """

    service: str
    service_revision: int
    champion: str
    challenger: str
    digest: str
    headroom: str


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
    """A rollout as it stands, with what may be asked of it now and what was asked of it before.

    ``problem`` is why nobody can go on with it; it can be aborted then, and nothing else. ``headroom`` is what was
    planned for the workers of both versions; "" before the leader has taken it up.
    """

    problem: str
    mirror_share: float
    step: int
    phase_since_s: float
    muted: list[str]
    headroom: str
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


def _is_storable(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_storable(key) and _is_storable(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(_is_storable(inner) for inner in value)
    return not isinstance(value, str) or not any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in value)

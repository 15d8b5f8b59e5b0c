"""The state of one rollout between two decisions: a value with an exact JSON form."""

import json
from dataclasses import fields, replace
from operator import attrgetter

import orjson

from contracts.errors import InvalidInput
from contracts.records import record
from rollout.actions import ReasonCode
from rollout.evidence.stack import Evidence, begin
from rollout.layout import layout_of
from rollout.phases import Phase
from rollout.policy import Policy

SCHEMA = 1


@record(frozen=True, slots=True)
class State:
    """Where a rollout stands.

    ``at_s`` is the last decision's time. ``weight`` and ``mirror_share`` are what was last asked for. ``trial_s`` are
    the seconds spent mirroring and progressing, against the maximum duration. ``step``, ``step_since_s`` and
    ``step_requests`` belong to explicit steps. ``resume_to`` is the phase that a paused or failed rollout goes back
    to. ``muted`` names the gates a person overrode. ``scores_waiting_s`` is, per scored indicator, since when
    pictures are due without any score (-1 when none are). ``unmatched`` keeps, per scored indicator, scores
    of challenger and champion that wait for a partner. ``no_data_since_s`` is -1 while there is data.
    ``shifted``: all traffic was acknowledged to be the challenger's; ``retiring``: the champion's retirement was asked
    for, after which nothing takes the promotion back.
    """

    policy_digest: str
    rollout_id: str
    champion: str
    challenger: str
    phase: Phase
    at_s: float
    phase_since_s: float
    evidence: Evidence
    weight: float = 0.0
    mirror_share: float = 0.0
    trial_s: float = 0.0
    step: int = 0
    step_since_s: float = 0.0
    step_requests: int = 0
    resume_to: Phase | None = None
    muted: tuple[str, ...] = ()
    scores_waiting_s: tuple[float, ...] = ()
    unmatched: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    no_data_since_s: float = -1.0
    shifted: bool = False
    retiring: bool = False
    reason: ReasonCode = ReasonCode.STARTED
    reason_since_s: float = 0.0

    def to_json(self) -> str:
        """Return the state as JSON with its schema version; ``from_json`` gives back an equal state."""
        row = dict(zip(_OWN, _own_values(self), strict=True), schema=SCHEMA)
        arrays = orjson.dumps(
            {name: getattr(self.evidence, name) for name in _ARRAYS}, option=orjson.OPT_SERIALIZE_NUMPY
        )
        if b"null" in arrays:  # what is not finite
            return json.dumps(row | {"evidence": self.evidence.to_document()}, separators=(",", ":"))
        return orjson.dumps(row | {"evidence": orjson.Fragment(arrays)}, option=orjson.OPT_SERIALIZE_NUMPY).decode()

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when the schema is another, or a key is missing, unknown or wrong.
        """
        try:
            row = json.loads(text)
            schema = row.pop("schema")
            if schema != SCHEMA:
                raise InvalidInput(f"state.schema: {schema!r} is not readable", hint=f"this release reads {SCHEMA}")
            row["evidence"] = Evidence.from_document(row["evidence"])
            row["phase"] = Phase(row["phase"])
            row["reason"] = ReasonCode(row["reason"])
            row["resume_to"] = None if row["resume_to"] is None else Phase(row["resume_to"])
            row["muted"] = tuple(row["muted"])
            row["scores_waiting_s"] = tuple(row["scores_waiting_s"])
            row["unmatched"] = tuple((tuple(mine), tuple(theirs)) for mine, theirs in row["unmatched"])
            return cls(**row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"state: not the state of a rollout ({error})") from None


_OWN = tuple(f.name for f in fields(State) if f.name != "evidence")
_own_values = attrgetter(*_OWN)
_ARRAYS = tuple(f.name for f in fields(Evidence))


def start(policy: Policy, *, at_s: float, rollout_id: str, champion: str, challenger: str) -> State:
    """Return the state of a rollout that begins now, without traffic and with evidence one on every gate."""
    if champion == challenger:
        raise InvalidInput(f"challenger: {challenger} is the champion already", hint="name another version")
    scored = len(policy.scored)
    return State(
        policy_digest=policy.digest,
        rollout_id=rollout_id,
        champion=champion,
        challenger=challenger,
        phase=Phase.PENDING,
        at_s=at_s,
        phase_since_s=at_s,
        evidence=begin(layout_of(policy).stack),
        step_since_s=at_s,
        scores_waiting_s=(-1.0,) * scored,
        unmatched=(((), ()),) * scored,
        reason_since_s=at_s,
    )


def enter(state: State, phase: Phase, at_s: float) -> State:
    """Return the state in ``phase`` from ``at_s`` on."""
    return replace(state, phase=phase, phase_since_s=at_s)

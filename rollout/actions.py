"""Effects that the loop carries out, and the reason of a decision."""

from dataclasses import dataclass
from enum import StrEnum

from contracts.records import record


class ActionKind(StrEnum):
    """One idempotent effect; it is repeated each tick until the observation says that it is done."""

    WARM = "warm"
    SET_WEIGHT = "set-weight"
    SET_MIRROR = "set-mirror"
    MOVE_ALIAS = "move-alias"
    RESTORE_ALIAS = "restore-alias"
    RETIRE_CHAMPION = "retire-champion"
    RETIRE_CHALLENGER = "retire-challenger"
    NOTIFY = "notify"


@record(frozen=True, slots=True)
class Action:
    """An effect; ``key`` is the same for its repetitions, ``value`` the weight or share to set."""

    kind: ActionKind
    key: str
    version: str = ""
    value: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class FailedEffect:
    """An effect that could not be carried out; ``permanent`` when trying again can't help."""

    kind: ActionKind
    message: str
    permanent: bool = False


class ReasonCode(StrEnum):
    """Why the decision is what it is; stable, for programs."""

    STARTED = "rollout.started"
    WARMING = "warm.waiting"
    HEADROOM_WAITING = "headroom.waiting"
    HEADROOM_REDUCED = "headroom.reduced"
    HEADROOM_SHARED = "headroom.shared"
    MIRRORING = "mirror.collecting"
    RAISED = "ramp.raised"
    LOWERED = "ramp.lowered"
    STEP_HOLD = "step.holding"
    STEP_PAUSE = "step.waiting-for-person"
    AWAITING_PROOF = "ramp.awaiting-proof"
    CAPACITY = "ramp.capacity"
    NO_DATA = "hold.no-data"
    NO_DATA_ALARM = "alarm.no-data"
    SAMPLE_RATIO = "alarm.sample-ratio"
    ENVIRONMENT = "hold.environment"
    UNCLEAR = "hold.unclear"
    WATCH = "hold.watch"
    BURN = "hold.burn"
    TIMEOUT_PAUSE = "timeout.paused"
    TIMEOUT_ROLLBACK = "timeout.rolled-back"
    TIMEOUT_PROMOTE = "timeout.promoted"
    PROVEN_HARM = "gate.harm-proven"
    PROVEN_SAFE = "gate.safe-proven"
    PAUSED = "manual.paused"
    RESUMED = "manual.resumed"
    PROMOTED_STEP = "manual.promoted-step"
    PROMOTED_ALL = "manual.promoted-all"
    ABORTED = "manual.aborted"
    SHIFTING = "promote.shifting"
    MOVING_ALIAS = "promote.moving-alias"
    BAKING = "promote.baking"
    RETIRING = "promote.retiring"
    PROMOTED = "rollout.promoted"
    ROLLING_BACK = "rollback.shifting"
    ROLLED_BACK = "rollout.rolled-back"
    ENDED_BY_PERSON = "rollout.aborted"
    FAILED = "rollout.failed"


NOTIFYING = frozenset(
    {
        ReasonCode.HEADROOM_REDUCED,
        ReasonCode.HEADROOM_SHARED,
        ReasonCode.STEP_PAUSE,
        ReasonCode.PAUSED,
        ReasonCode.NO_DATA,
        ReasonCode.NO_DATA_ALARM,
        ReasonCode.SAMPLE_RATIO,
        ReasonCode.ENVIRONMENT,
        ReasonCode.UNCLEAR,
        ReasonCode.BURN,
        ReasonCode.WATCH,
        ReasonCode.TIMEOUT_PAUSE,
        ReasonCode.TIMEOUT_ROLLBACK,
        ReasonCode.TIMEOUT_PROMOTE,
        ReasonCode.PROVEN_HARM,
        ReasonCode.PROVEN_SAFE,
        ReasonCode.ABORTED,
        ReasonCode.ENDED_BY_PERSON,
        ReasonCode.PROMOTED,
        ReasonCode.ROLLED_BACK,
        ReasonCode.FAILED,
    }
)


@record(frozen=True, slots=True)
class Reason:
    """Why, in a stable code and one plain sentence."""

    code: ReasonCode
    sentence: str

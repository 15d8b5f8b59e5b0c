"""Phases of a rollout, and which manual action is legal in which."""

from dataclasses import dataclass
from enum import StrEnum

from contracts.errors import InvalidInput, NotPermitted


class Phase(StrEnum):
    """Where a rollout stands."""

    PENDING = "pending"
    WARMING = "warming"
    MIRRORING = "mirroring"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    PROMOTING = "promoting"
    BAKING = "baking"
    PROMOTED = "promoted"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    ABORTING = "aborting"
    ABORTED = "aborted"
    FAILED = "failed"


class ManualKind(StrEnum):
    """What a person may ask of a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE_STEP = "promote-step"
    PROMOTE_ALL = "promote-all"
    ABORT = "abort"
    OVERRIDE = "override"


ENDED = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.ABORTED})
RETREATING = frozenset({Phase.ROLLING_BACK, Phase.ABORTING})
JUDGED = frozenset(
    {Phase.MIRRORING, Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.BAKING, Phase.FAILED},
)
BEFORE_TRAFFIC = frozenset({Phase.PENDING, Phase.WARMING})

LEGAL: dict[ManualKind, frozenset[Phase]] = {
    ManualKind.PAUSE: frozenset({Phase.PENDING, Phase.WARMING, Phase.MIRRORING, Phase.PROGRESSING}),
    ManualKind.RESUME: frozenset({Phase.PAUSED, Phase.FAILED}),
    ManualKind.PROMOTE_STEP: frozenset({Phase.MIRRORING, Phase.PROGRESSING, Phase.PAUSED}),
    ManualKind.PROMOTE_ALL: frozenset({Phase.MIRRORING, Phase.PROGRESSING, Phase.PAUSED}),
    ManualKind.ABORT: frozenset(Phase) - ENDED - RETREATING,
    ManualKind.OVERRIDE: frozenset(Phase) - ENDED - RETREATING,
}


@dataclass(frozen=True, slots=True)
class ManualAction:
    """What a person asked, who, and why. ``gates`` names the gates an override silences; none means all."""

    kind: ManualKind
    actor: str
    reason: str
    gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manual action that was not done: the phase it met, and why."""

    action: ManualAction
    phase: Phase
    why: str


def why_illegal(kind: ManualKind, phase: Phase) -> str:
    """Return why ``kind`` can't be done in ``phase``, or "" when it can."""
    if phase in LEGAL[kind]:
        return ""
    if phase in ENDED:
        return f"the rollout has ended ({phase.value}); start a new one"
    if phase in RETREATING:
        return f"the rollout is {phase.value} and traffic is on its way to the champion; wait for it to end"
    allowed = ", ".join(sorted(member.value for member in LEGAL[kind]))
    return f"{kind.value} is possible while {allowed}, not while {phase.value}"


def check_manual(action: ManualAction, phase: Phase) -> None:
    """Refuse a manual action before it is recorded.

    Raises:
        InvalidInput: when the actor or the reason is missing.
        NotPermitted: when the phase doesn't allow it, naming action, phase and why.
    """
    for name in ("actor", "reason"):
        if not getattr(action, name).strip():
            raise InvalidInput(f"{action.kind.value}.{name}: is empty", hint="say who asks and why; it is recorded")
    why = why_illegal(action.kind, phase)
    if why:
        raise NotPermitted(f"{action.kind.value} refused in phase {phase.value}: {why}")

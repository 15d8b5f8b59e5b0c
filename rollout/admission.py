"""Whether a new challenger may start: alone, after the rollout in progress, in its place, or not at all."""

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum

from rollout.phases import ENDED, Phase
from rollout.state import State


class Admission(StrEnum):
    """What becomes of a request to roll out a version."""

    START = "start"
    QUEUE = "queue"
    REPLACE = "replace"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Admitted:
    """The answer, with why in one sentence. ``replace``: abort the rollout in progress first, then start."""

    admission: Admission
    why: str


def admit(
    current: State | None,
    challenger: str,
    digest: str,
    *,
    rolled_back: Container[str],
    replace: bool = False,
    force: bool = False,
) -> Admitted:
    """Decide on a new challenger for a service.

    ``current`` is the service's latest rollout, ``digest`` the challenger's content, ``rolled_back`` the digests of
    versions that were rolled back before: these are refused unless ``force``. A rollout in progress is never mixed with
    another: the new one waits, or takes its place when ``replace``; a promotion under way is never replaced.
    """
    if digest in rolled_back and not force:
        why = f"{challenger} was rolled back before ({digest}); use force to try the same bytes again"
        return Admitted(Admission.REFUSE, why)
    if current is None or current.phase in ENDED:
        return Admitted(Admission.START, f"nothing else is in progress; {challenger} starts")
    if current.challenger == challenger:
        return Admitted(Admission.REFUSE, f"{challenger} is on trial already ({current.rollout_id})")
    if replace and current.phase in {Phase.PROMOTING, Phase.BAKING}:
        why = f"{current.challenger} is being promoted ({current.phase.value}); {challenger} waits for it"
        return Admitted(Admission.QUEUE, why)
    if replace:
        why = f"{current.rollout_id} of {current.challenger} is aborted in favour of {challenger}"
        return Admitted(Admission.REPLACE, why)
    why = f"{current.rollout_id} of {current.challenger} is {current.phase.value}; {challenger} waits for it"
    return Admitted(Admission.QUEUE, why)

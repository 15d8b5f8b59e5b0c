"""Four eyes: who may go on against, or without, the evidence, and why somebody may not."""

from collections.abc import Collection

from contracts.specs.service import ServiceSpec
from controlplane.store.tokens import Role
from rollout.actions import ReasonCode
from rollout.phases import ManualKind
from rollout.state import State

FORCING = frozenset({ManualKind.PROMOTE_STEP, ManualKind.PROMOTE_ALL, ManualKind.OVERRIDE})


def goes_ahead(kind: ManualKind, state: State) -> bool:
    """Tell whether an action brings the challenger more traffic on a person's word alone."""
    return kind in FORCING or (kind is ManualKind.RESUME and state.reason is ReasonCode.STEP_PAUSE)


def why_not_alone(spec: ServiceSpec, what: str, *, actor: str, role: Role, involved: Collection[str]) -> str:
    """Return why ``actor`` can't do ``what`` under the service's four eyes, or "".

    ``involved`` are those who registered the challenger or started its rollout.
    """
    if not spec.approval.four_eyes:
        return ""
    if not role.includes(Role.APPROVER):
        return f"{spec.service} asks for four eyes: {what} needs an approver"
    if actor in involved:
        return f"{spec.service} asks for four eyes: {actor} had a part in this rollout, another approver has to {what}"
    return ""

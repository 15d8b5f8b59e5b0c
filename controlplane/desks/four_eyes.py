"""Four eyes: who may go on against, or without, the evidence, and why somebody may not."""

from collections.abc import Collection

from contracts.errors import NotPermitted
from contracts.specs.service import ServiceSpec
from controlplane.desks.registrations import find_registrars
from controlplane.store.tokens import Role
from controlplane.stores import Stores
from registry.catalogue import VersionRecord
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


def require_second(
    stores: Stores, spec: ServiceSpec, what: str, record: VersionRecord, *, actor: str, role: Role
) -> None:
    """Refuse to let ``actor`` do ``what`` with a version that they registered, where four eyes are asked for.

    Raises:
        NotPermitted: when they registered it, or are no approver.
    """
    involved = find_registrars(stores, f"version/{record.id}").union(record.registered_by)
    why = why_not_alone(spec, what, actor=actor, role=role, involved=involved)
    if why:
        raise NotPermitted(why, hint="ask another approver")

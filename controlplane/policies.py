"""The policy that a service's rollouts are decided under."""

from contracts.specs.service import ServiceSpec
from controlplane.loop.evidence import sliced_lanes
from rollout.policy import Policy, compile_policy


def policy_of(spec: ServiceSpec) -> Policy:
    """Return the compiled policy of a spec; a rollout keeps that of the revision it was started under."""
    return compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))

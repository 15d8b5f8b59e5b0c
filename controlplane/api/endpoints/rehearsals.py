"""Rehearsals: what a policy promises, what it does on traffic that never was, and on traffic that was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from contracts.errors import InvalidInput
from contracts.specs.service import ServiceSpec
from controlplane.api.context import ApiContext, Context
from controlplane.api.documents import WHOLE, Body, SpecText
from controlplane.api.endpoints.services import read_spec
from controlplane.api.parameters import RolloutId
from controlplane.api.principal import AnyViewer, Viewer
from controlplane.api.route import GuardedRoute
from controlplane.api.telling import finite
from controlplane.policies import policy_of
from controlplane.statuses import TooManyRequests
from controlplane.store.tokens import Role
from rollout.policy import Policy

router = APIRouter(route_class=GuardedRoute, tags=["rehearsals"])
Level = Annotated[float, Field(ge=0, le=1)]
Levels = Annotated[dict[str, Level], Field(max_length=50)]


class PlanBody(Body):
    """A policy and its traffic: ``rate`` in requests per second, the champion's bad rates and mean scores."""

    spec: SpecText
    rate: Annotated[float, Field(gt=0, le=1e6)]
    champion: Levels = Field(default_factory=dict)
    runs: Annotated[int, Field(ge=20, le=500), WHOLE] = 100
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] = 0


class SimulateBody(PlanBody):
    """The same with a fault: the challenger's bad rates and mean scores from ``onset_s`` on."""

    fault: Levels = Field(default_factory=dict)
    onset_s: Annotated[float, Field(ge=0, le=1e7)] = 0.0
    peers: bool = False


class ReplayBody(Body):
    """The spec whose policy decides again."""

    spec: SpecText


class Rehearsed(BaseModel):
    """What came of a rehearsal; shares are from 0 to 1, times in seconds, null where there was nothing."""

    service: str
    result: dict[str, Any]


@router.post("/plan")
def plan_rollout(body: PlanBody, who: Viewer, context: Context) -> Rehearsed:
    """Tell what a policy promises: time to proof, which faults are caught at what cost, and what is not seen."""
    from controlplane.rehearsal.policies import check_size, make_scenario
    from controlplane.rehearsal.trial import forecast

    spec, policy = _read(body.spec)
    levels = _levels(body.champion, policy, "champion")
    check_size(policy, request_rate=body.rate, runs=body.runs)
    make_scenario(policy, request_rate=body.rate, champion=levels, fault={}, onset_s=0.0)
    with _alone(context):
        found = forecast(policy, body.rate, levels, runs=body.runs, seed=body.seed)
    return Rehearsed(service=spec.service, result=finite(asdict(found)))


@router.post("/simulate")
def simulate_rollout(body: SimulateBody, who: Viewer, context: Context) -> Rehearsed:
    """Run a policy on simulated traffic with a fault, or with none, and tell how the rollouts end."""
    from controlplane.rehearsal.policies import check_size, make_scenario
    from controlplane.rehearsal.trial import try_policy

    spec, policy = _read(body.spec)
    check_size(policy, request_rate=body.rate, runs=body.runs)
    scenario = make_scenario(
        policy,
        request_rate=body.rate,
        champion=_levels(body.champion, policy, "champion"),
        fault=_levels(body.fault, policy, "fault"),
        onset_s=body.onset_s,
    )
    with _alone(context):
        trials = list(try_policy(policy, scenario, runs=body.runs, seed=body.seed, peers=body.peers))
    return Rehearsed(service=spec.service, result={"trials": [finite(trial.to_document()) for trial in trials]})


@router.post("/rollouts/{rollout}/replay", tags=["rollouts"])
def replay_rollout(rollout: RolloutId, body: ReplayBody, who: AnyViewer, context: Context) -> Rehearsed:
    """Decide a recorded rollout again under the policy of a spec, beside what was decided then."""
    from controlplane.rehearsal.recorded import rerun

    who.require(Role.VIEWER, context.stores.rollouts.get(rollout).service)
    spec, policy = _read(body.spec)
    with _alone(context):
        found = rerun(context.stores.ledger, rollout, policy)
    return Rehearsed(service=spec.service, result=finite(asdict(found)))


def _read(given: str | dict[str, Any]) -> tuple[ServiceSpec, Policy]:
    spec = read_spec(given)
    return spec, policy_of(spec)


def _levels(given: Mapping[str, float], policy: Policy, field: str) -> dict[str, float]:
    known = (*policy.counted, *policy.scored)
    for name in given:
        if name not in known:
            raise InvalidInput(f"{field}: no objective is called {name!r}", hint=f"objectives: {', '.join(known)}")
    return dict(given)


@contextmanager
def _alone(context: ApiContext) -> Iterator[None]:
    """Let one rehearsal run at a time: it takes a whole core, which the decisions need, too."""
    if not context.rehearsing.acquire(blocking=False):
        raise TooManyRequests("another rehearsal is running", 5.0)
    try:
        yield
    finally:
        context.rehearsing.release()

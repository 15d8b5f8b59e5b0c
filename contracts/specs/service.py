"""A service: what clients call, its lanes and routes, its objectives, its fallback and its rollout policy."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from contracts.ids import Name
from contracts.model import Frozen
from contracts.specs.monitor import MonitorSpec
from contracts.specs.rollout import RolloutSpec
from contracts.specs.slo import LatencySlo, Slo
from contracts.specs.watch import FreezeSpec, WatchSpec
from contracts.units import ByteSize, Duration, Fraction


class LaneLatency(Frozen):
    """A lane's own latency objective: the share of its requests answered within ``threshold``."""

    objective: Annotated[Fraction, Field(gt=0, lt=1)]
    threshold: Annotated[Duration, Field(gt=0)]


class Lane(Frozen):
    """A traffic class with its own generation defaults, concurrency and latency objective.

    ``steps`` and ``guidance`` override the version's generation defaults; ``max_concurrency`` is per replica.
    """

    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    max_concurrency: Annotated[int, Field(ge=1)] = 1
    latency: LaneLatency | None = None


class RouteCondition(Frozen):
    """When a route matches: every key that is given must hold, and at least one is given."""

    prompt_words_below: Annotated[int, Field(ge=1)] | None = None
    prompt_words_from: Annotated[int, Field(ge=0)] | None = None
    prompt_mentions: tuple[str, ...] = ()
    tier: str | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> "RouteCondition":
        given = (self.prompt_words_below, self.prompt_words_from, self.tier, self.prompt_mentions or None)
        if all(condition is None for condition in given):
            raise ValueError("a route without a condition matches everything; leave it out instead")
        return self


class Route(Frozen):
    """One rule of the routing list; the first that matches decides the lane."""

    when: RouteCondition
    lane: Name


class FallbackReason(StrEnum):
    """What may send a request to the fallback instead of to an error."""

    OOM = "oom"
    OVERLOAD = "overload"
    TIMEOUT = "timeout"
    ERROR = "error"
    REJECTED = "rejected"


class Fallback(Frozen):
    """Where a failed attempt is tried again: a lane, or ``champion`` for the champion's version.

    ``retry_budget`` bounds retries as a share of requests, so that retries never become the load.
    """

    on: Annotated[tuple[FallbackReason, ...], Field(min_length=1)]
    to: Name
    retry_budget: Fraction = 0.1


class StickyKey(StrEnum):
    """What decides a request's version: its own id, the user, or the session."""

    REQUEST = "request"
    USER = "user"
    SESSION = "session"


class Limits(Frozen):
    """What one request may ask for, how long one attempt may take, and how many may wait per replica."""

    max_prompt_chars: Annotated[int, Field(ge=1)] = 2000
    max_pixels: Annotated[int, Field(ge=1)] = 2048 * 2048
    max_pictures: Annotated[int, Field(ge=1, le=10)] = 10
    max_body: Annotated[ByteSize, Field(ge=1024)] = 16 << 20
    max_queue: Annotated[int, Field(ge=0)] = 64
    timeout: Annotated[Duration, Field(gt=0)] = 30.0


class Cache(Frozen):
    """Answers kept for requests that are the same in version, parameters, seed and prompt; off unless it is given."""

    ttl: Annotated[Duration, Field(gt=0)] = 600.0
    max_size: Annotated[ByteSize, Field(ge=1024)] = 64 << 20


class PolicyVerdict(StrEnum):
    """What a policy says to a prompt: answer it, refuse it, or answer it and have a person look at it."""

    ALLOW = "allow"
    DENY = "deny"
    REVIEW = "review"


class PolicyRule(Frozen):
    """A rule on prompts: the verdict on those that mention any of these words or phrases, and the reason to tell."""

    mentions: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1)]
    verdict: PolicyVerdict
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class PromptIntake(Frozen):
    """What happens to a prompt before it is drawn, and before it is kept.

    ``rules`` are looked at first, then the installed policies named in ``policies``; the strictest verdict holds. A
    policy that fails, or hasn't answered within 100 ms, counts as having said ``on_failure``. With ``redact``, what
    could name a person is taken out of whatever is kept; the model still gets the prompt as it came.
    """

    rules: tuple[PolicyRule, ...] = ()
    policies: tuple[Name, ...] = ()
    on_failure: PolicyVerdict = PolicyVerdict.DENY
    redact: bool = True


class ForcedVersions(Frozen):
    """Who may choose the version of a request: holders of a token, which are kept as their SHA-256 only."""

    tokens: Annotated[tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...], Field(min_length=1)]


class Approval(Frozen):
    """Who has to agree before a rollout goes on against, or without, the evidence.

    With ``four_eyes`` a step, a promotion, an override or a forced start by hand needs an approver who neither
    registered the challenger nor started its rollout; what the gates prove by themselves needs nobody.
    """

    four_eyes: bool = False


class Requirements(Frozen):
    """What must be there before a version may get traffic; a person can insist with ``force`` and a reason.

    With ``comparison`` a kept side-by-side comparison with the champion, of these very bytes, that found no harm; on
    the prompt set with the digest ``prompts``, where that is given.
    """

    comparison: bool = False
    prompts: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


class Workers(Frozen):
    """How many workers each version of a service gets, and what a rollout may do when both versions don't fit.

    While memory is short a rollout runs with fewer workers, but never with fewer than carry the busiest traffic of
    late: by their profile, loaded to ``busy`` of what it measured. Where no profile tells, ``at_least`` is taken as
    your word for that number; without it no worker is taken away. ``share`` lets the challenger draw smaller batches
    in what memory is left, as its profile says.
    """

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    at_least: Annotated[int, Field(ge=1, le=64)] | None = None
    busy: Annotated[Fraction, Field(gt=0, le=1)] = 0.7
    share: bool = False

    @model_validator(mode="after")
    def _at_least_some_of_them(self) -> "Workers":
        if self.at_least is not None and self.at_least > self.replicas:
            raise ValueError("at_least must not be larger than replicas")
        return self


class AliasPolicy(StrEnum):
    """What happens when somebody else moves the ``champion`` alias in MLflow: taken back, followed, or only told."""

    REVERT = "revert"
    ADOPT = "adopt"
    TELL = "tell"


class ServiceSpec(Frozen):
    """A service as written in YAML; see the reference page of each part for its keys."""

    service: Name
    model: Name
    sticky: StickyKey = StickyKey.REQUEST
    lanes: dict[Name, Lane] = Field(default_factory=dict)
    route: tuple[Route, ...] = ()
    slos: Annotated[dict[Name, Slo], Field(min_length=1)]
    fallback: Fallback | None = None
    limits: Limits = Limits()
    cache: Cache | None = None
    intake: PromptIntake = PromptIntake()
    post_checks: tuple[Name, ...] = ()
    force: ForcedVersions | None = None
    monitors: dict[Name, MonitorSpec] = Field(default_factory=dict)
    aliases: AliasPolicy = AliasPolicy.REVERT
    workers: Workers = Workers()
    rollout: RolloutSpec = RolloutSpec()
    approval: Approval = Approval()
    require: Requirements | None = None
    watch: WatchSpec = WatchSpec()
    freeze: FreezeSpec | None = None

    @model_validator(mode="after")
    def _references_exist(self) -> "ServiceSpec":
        routes = [(f"route.{index}.lane", route.lane) for index, route in enumerate(self.route)]
        dangling = dangling_lanes(self.lanes.keys(), routes, self.fallback.to if self.fallback else None)
        if dangling:
            raise ValueError("; ".join(f"{path}: no lane is called {name!r}" for path, name in dangling))
        return self

    @model_validator(mode="after")
    def _objectives_have_their_own_names(self) -> "ServiceSpec":
        for name in self.lane_objectives():
            if name in self.slos:
                raise ValueError(f"slos.{name}: a lane's latency objective has this name already")
        return self

    @model_validator(mode="after")
    def _killing_objectives_exist(self) -> "ServiceSpec":
        for name in self.watch.kill_on:
            if name not in self.objectives():
                raise ValueError(f"watch.kill_on: there is no objective called {name!r}")
        return self

    def objectives(self) -> dict[str, Slo]:
        """Return every objective that gates a rollout: those declared, and ``latency-LANE`` for each lane with one."""
        lanes = {
            name: LatencySlo(objective=latency.objective, threshold=latency.threshold)
            for name, lane in self.lane_objectives().items()
            if (latency := self.lanes[lane].latency) is not None
        }
        return {**self.slos, **lanes}

    def lane_objectives(self) -> dict[str, str]:
        """Return the lane behind each ``latency-LANE`` objective, which counts that lane's attempts only."""
        return {f"latency-{name}": name for name, lane in self.lanes.items() if lane.latency is not None}


def dangling_lanes(lanes: Iterable[str], routes: list[tuple[str, str]], fallback: str | None) -> list[tuple[str, str]]:
    """Return (path, lane name) of each reference to a lane that isn't declared."""
    declared = set(lanes)
    references = list(routes)
    if fallback is not None and fallback != "champion":
        references.append(("fallback.to", fallback))
    return [(path, name) for path, name in references if name not in declared]

"""The routing table: one immutable document that tells gateways where every request goes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.ids import Name, VersionId
from contracts.model import Frozen
from contracts.specs.service import Cache, Fallback, ForcedVersions, Lane, Limits, PromptIntake, Route, StickyKey

Weight = Annotated[float, Field(ge=0, le=1)]


class Endpoint(Frozen):
    """One replica of a version: a name for telemetry, where it listens, and the digest of what it loaded, if known."""

    replica: Name
    url: Annotated[str, Field(pattern=r"^http://[0-9A-Za-z.\-\[\]:]+$")]
    max_concurrency: Annotated[int, Field(ge=1)] = 1
    digest: str | None = None


class Split(Frozen):
    """How traffic is shared while a rollout lives.

    A request goes to the challenger when hash(salt, key) in [0, 1) lies below ``weight``: raising the weight never
    moves a user back, lowering it never moves one forward. ``mirror_share`` of the champion's requests are copied
    to the challenger and the copies' answers thrown away.
    """

    rollout_id: Name
    salt: Annotated[str, Field(min_length=8, max_length=64)]
    challenger: VersionId
    weight: Weight
    mirror_share: Weight = 0.0


class ServiceRoutes(Frozen):
    """How one service is served: its champion, the split if a rollout lives, and who answers for each version.

    ``score_sample`` is the share of answers handed to the scorers; ``latency_thresholds_s`` the thresholds
    at which slow answers are counted exactly, by objective name. A ``closed``
    service has nobody who may answer: its requests are turned away, and counted as bad.
    """

    service: Name
    champion: VersionId
    split: Split | None = None
    sticky: StickyKey = StickyKey.REQUEST
    lanes: dict[Name, Lane] = Field(default_factory=dict)
    route: tuple[Route, ...] = ()
    fallback: Fallback | None = None
    limits: Limits = Limits()
    cache: Cache | None = None
    intake: PromptIntake = PromptIntake()
    post_checks: tuple[Name, ...] = ()
    force: ForcedVersions | None = None
    endpoints: dict[str, tuple[Endpoint, ...]]
    score_sample: Weight = 0.0
    latency_thresholds_s: dict[Name, float] = Field(default_factory=dict)
    closed: bool = False

    @model_validator(mode="after")
    def _every_version_has_an_endpoint(self) -> Self:
        if self.closed:
            return self
        versions = [self.champion] + ([self.split.challenger] if self.split and self.split.weight > 0 else [])
        for version in versions:
            if not self.endpoints.get(str(version)):
                raise ValueError(f"{version} has traffic but no endpoint")
        return self


class RoutingTable(Frozen):
    """All services, with a revision and the leader's fencing number; gateways accept only a newer one."""

    schema_version: Literal[1] = 1
    revision: Annotated[int, Field(ge=0)]
    fence: Annotated[int, Field(ge=0)]
    services: dict[Name, ServiceRoutes]

    def is_newer_than(self, other: "RoutingTable | None") -> bool:
        """Tell whether a gateway that holds ``other`` must take this table."""
        return other is None or (self.fence, self.revision) > (other.fence, other.revision)

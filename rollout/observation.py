"""Everything that a decision may look at, time included, and its checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from contracts.errors import InvalidInput
from contracts.records import record
from rollout.actions import FailedEffect
from rollout.evidence.counts import check_tally
from rollout.evidence.scores import check_scores
from rollout.evidence.two_arm import ArmsTick
from rollout.phases import ManualAction
from rollout.policy import Policy


@record(frozen=True, slots=True)
class ScoresTick:
    """Scores of one indicator that arrived in one tick, whenever their pictures were made.

    ``challenger`` and ``champion`` are in [0, 1]; ``pairs`` are differences (challenger minus champion) of mirrored
    outputs, in [-1, 1]. ``due`` counts pictures that were sampled and whose scores haven't arrived yet.
    """

    challenger: tuple[float, ...] = ()
    champion: tuple[float, ...] = ()
    pairs: tuple[float, ...] = ()
    due: int = 0


@record(frozen=True, slots=True)
class Exposure:
    """Units of randomisation (requests; users when assignment is sticky) assigned while ``weight`` was in force."""

    weight: float
    challenger: int
    champion: int


@record(frozen=True, slots=True)
class Stratum:
    """What became of requests that were assigned to the arms under one share, however late it was known.

    ``weight`` is that share; 0 when it isn't known. ``counts`` and ``slices`` as in the observation.
    """

    weight: float
    counts: Mapping[str, ArmsTick]
    slices: Mapping[str, Mapping[str, ArmsTick]] = field(default_factory=dict)


class Fit(StrEnum):
    """How the workers of both versions find room: all of them, fewer, in smaller batches, later, or never."""

    WHOLE = "whole"
    REDUCED = "reduced"
    SHARED = "shared"
    WAITING = "waiting"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Headroom:
    """What is planned for the workers of both versions before the rollout begins, and the numbers behind it."""

    fit: Fit
    sentence: str


@record(frozen=True, slots=True)
class Observation:
    """What was seen since the last decision, and how the world stands.

    ``counts`` per indicator, ``slices`` per indicator and slice, ``scores`` per scored indicator: increments since the
    last tick, absent when there were none. ``newest_telemetry_s`` is the time of the newest telemetry of any kind
    (``None``: never any). ``request_rate`` is the service's, in requests per second. ``ready``: the challenger's
    replicas answer and its warm prompts are done. ``weight_applied``, ``mirror_applied``: what the routing table that
    gateways acknowledged says. ``alias_moved``: the champion's alias names the challenger. ``retired``: the version
    whose retirement was asked for is gone. ``headroom`` is told before the first traffic; ``weight_cap`` is the largest
    share that the challenger's workers can serve.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    at_s: float
    counts: Mapping[str, ArmsTick] = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, ArmsTick]] = field(default_factory=dict)
    scores: Mapping[str, ScoresTick] = field(default_factory=dict)
    exposures: tuple[Exposure, ...] = ()
    strata: tuple[Stratum, ...] = ()
    newest_telemetry_s: float | None = None
    request_rate: float = 0.0
    ready: bool = False
    weight_applied: float | None = None
    mirror_applied: float | None = None
    alias_moved: bool = False
    retired: bool = False
    headroom: Headroom | None = None
    weight_cap: float = 1.0
    manual: tuple[ManualAction, ...] = ()
    failed: tuple[FailedEffect, ...] = ()

    def to_json(self) -> str:
        """Return the observation as JSON, for the ledger; ``from_json`` gives back an equal one."""
        return _adapter().dump_json(self).decode()

    def to_document(self) -> dict[str, Any]:
        """Return what ``to_json`` writes, as a document."""
        document: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return document

    @classmethod
    def from_json(cls, text: str) -> "Observation":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: naming the key that is unknown or wrong.
        """
        try:
            return _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(f"observation.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


@cache
def _adapter() -> TypeAdapter[Observation]:
    return TypeAdapter(Observation)


def check_observation(policy: Policy, last_at_s: float, observation: Observation) -> None:
    """Refuse an observation that can't be, before anything changes.

    Raises:
        InvalidInput: naming the field and what to do.
    """
    if not observation.at_s >= last_at_s:
        raise InvalidInput(
            f"at_s: {observation.at_s!r} is before the last decision at {last_at_s!r}",
            hint="hand in a clock that doesn't run backwards",
        )
    if not 0.0 <= observation.request_rate < float("inf"):
        raise InvalidInput(f"request_rate: {observation.request_rate!r} is not a rate per second")
    _check_counts(policy, "", observation.counts, observation.slices)
    for index, stratum in enumerate(observation.strata):
        _check_counts(policy, f"strata.{index}.", stratum.counts, stratum.slices)
        if not 0.0 <= stratum.weight <= 1.0:
            raise InvalidInput(f"strata.{index}.weight: {stratum.weight!r} is not between 0 and 1")
    _check_known("scores", observation.scores, policy.scored)
    for name, scores in observation.scores.items():
        _check_scores(f"scores.{name}", scores)
    _check_weights(observation)


def _check_counts(
    policy: Policy,
    place: str,
    counts: Mapping[str, ArmsTick],
    slices: Mapping[str, Mapping[str, ArmsTick]],
) -> None:
    _check_known(f"{place}counts", counts, policy.counted)
    _check_known(f"{place}slices", slices, policy.counted)
    for name, tick in counts.items():
        _check_arms(f"{place}counts.{name}", tick)
    for name, parts in slices.items():
        _check_known(f"{place}slices.{name}", parts, policy.slices)
        for part, tick in parts.items():
            _check_arms(f"{place}slices.{name}.{part}", tick)


def _check_arms(field_name: str, tick: ArmsTick) -> None:
    check_tally(tick.challenger, f"{field_name}.challenger")
    check_tally(tick.champion, f"{field_name}.champion")


def _check_scores(field_name: str, scores: ScoresTick) -> None:
    check_scores(scores.challenger, f"{field_name}.challenger", lowest=0.0)
    check_scores(scores.champion, f"{field_name}.champion", lowest=0.0)
    check_scores(scores.pairs, f"{field_name}.pairs", lowest=-1.0)
    if scores.due < 0:
        raise InvalidInput(f"{field_name}.due: {scores.due} is negative")


def _check_weights(observation: Observation) -> None:
    for index, exposure in enumerate(observation.exposures):
        if not 0.0 <= exposure.weight <= 1.0:
            raise InvalidInput(f"exposures.{index}.weight: {exposure.weight!r} is not between 0 and 1")
        if exposure.challenger < 0 or exposure.champion < 0:
            raise InvalidInput(f"exposures.{index}: a count is negative")
    for name in ("weight_applied", "mirror_applied", "weight_cap"):
        value = getattr(observation, name)
        if value is not None and not 0.0 <= value <= 1.0:
            raise InvalidInput(f"{name}: {value!r} is not between 0 and 1")


def _check_known(field_name: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise InvalidInput(
                f"{field_name}.{name}: the policy has nothing of that name",
                hint=f"known: {', '.join(known) or 'none'}",
            )

"""The policy as it is decided by: the spec, its gates, and how the false-alarm probability is split over them."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contracts.errors import InvalidInput
from contracts.specs.rollout import RelativeGate, RolloutSpec
from contracts.specs.slo import GateKind, ScoreSlo, Slo

SCHEMA = 1
SLO: TypeAdapter[Slo] = TypeAdapter(Slo)


class GateFamily(StrEnum):
    """What a gate compares: a bad rate with the error budget, with the champion's, or a mean score with a bound."""

    BURN = "burn"
    RELATIVE = "relative"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class Gate:
    """One question asked of the challenger, with its part of the error probabilities.

    ``tolerable`` is never rolled back for but with probability ``alpha``; ``unacceptable`` never promoted but with
    probability ``beta`` (``None``: the gate has no safe side and promotion doesn't wait for it). Both are bad rates
    (burn), ratios of bad rates (relative) or mean scores (score). ``sli`` is the objective whose requests it reads.
    """

    name: str
    sli: str
    family: GateFamily
    kind: GateKind
    alpha: float
    beta: float
    tolerable: float
    unacceptable: float | None


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled rollout policy; equal when its digest is.

    ``slices`` are the parts of traffic (lanes, resolutions, prompt classes) that every counting gate also looks at
    one by one, within its own alpha. ``comparisons`` are counted indicators without an objective that only the
    relative gate reads, such as "slower than the champion's p95 when the rollout began". ``counted`` and ``scored``
    name the indicators that are counts and scores, in the order of their cells and streams.
    """

    digest: str
    spec: RolloutSpec = field(compare=False)
    slos: Mapping[str, Slo] = field(compare=False)
    slices: tuple[str, ...] = field(compare=False)
    comparisons: tuple[str, ...] = field(compare=False)
    gates: tuple[Gate, ...] = field(compare=False)
    counted: tuple[str, ...] = field(compare=False)
    scored: tuple[str, ...] = field(compare=False)

    @property
    def horizon_s(self) -> float:
        """Seconds over which the onset prior spreads the beginning of a fault: the longest trial and its bake."""
        return self.spec.max_duration + self.spec.bake

    def to_json(self) -> str:
        """Return the policy as JSON that ``from_json`` compiles to the same digest."""
        return _canonical(self.spec, self.slos, self.slices, self.comparisons)

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: naming the key that is unknown, missing or wrong, or the schema that isn't known.
        """
        try:
            document = json.loads(text)
            if document.pop("schema") != SCHEMA:
                raise InvalidInput("policy.schema: written by another release", hint=f"this one reads {SCHEMA}")
            spec = RolloutSpec.model_validate(document.pop("spec"))
            slos = {name: SLO.validate_python(slo) for name, slo in document.pop("slos").items()}
            slices, comparisons = tuple(document.pop("slices")), tuple(document.pop("comparisons"))
        except ValidationError as error:
            first = error.errors()[0]
            raise InvalidInput(f"policy.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"policy: not a compiled policy ({error})") from None
        if document:
            raise InvalidInput(f"policy.{min(document)}: unknown key", hint="the keys are those that to_json writes")
        return compile_policy(spec, slos, slices=slices, comparisons=comparisons)


def compile_policy(
    spec: RolloutSpec, slos: Mapping[str, Slo], *, slices: Sequence[str] = (), comparisons: Sequence[str] = ()
) -> Policy:
    """Compile what a person wrote into gates.

    One burn gate per availability or latency objective, one score gate per score objective, and a relative gate per
    counted indicator when the spec asks for it.

    Alpha is split over the gates that can roll back in proportion to their ``alpha_weight`` (union bound); watches
    split another alpha of their own. Beta isn't split: promotion needs every gate with a safe side (intersection-union
    test).

    Raises:
        InvalidInput: when there is no objective, a name is used twice, or a bound isn't a rate below one.
    """
    names = [*slos, *comparisons]
    if not slos:
        raise InvalidInput("slos: a rollout needs at least one objective to be judged by")
    if len(set(names)) != len(names) or len(set(slices)) != len(slices):
        raise InvalidInput("comparisons, slices: a name is used twice", hint="give each its own name")
    drafts = [_absolute_gate(name, slo, spec) for name, slo in slos.items()]
    if spec.relative is not None:
        counted = [(name, slo.kind, slo.alpha_weight) for name, slo in slos.items() if not isinstance(slo, ScoreSlo)]
        counted += [(name, GateKind.GATE, 1.0) for name in comparisons]
        drafts += [_relative_gate(name, kind, weight, spec.relative, spec) for name, kind, weight in counted]
    elif comparisons:
        raise InvalidInput("comparisons: there is no relative gate to read them", hint="set rollout.relative")
    text = _canonical(spec, slos, tuple(slices), tuple(comparisons))
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    return Policy(
        digest=digest,
        spec=spec,
        slos=dict(slos),
        slices=tuple(slices),
        comparisons=tuple(comparisons),
        gates=tuple(_split_alpha(drafts, spec.alpha)),
        counted=(*(name for name, slo in slos.items() if not isinstance(slo, ScoreSlo)), *comparisons),
        scored=tuple(name for name, slo in slos.items() if isinstance(slo, ScoreSlo)),
    )


def _absolute_gate(name: str, slo: Slo, spec: RolloutSpec) -> tuple[Gate, float]:
    if isinstance(slo, ScoreSlo):
        tolerable = round(slo.objective - slo.margin, 12)
        unacceptable = round(slo.objective - slo.unacceptable_margin, 12)
        family = GateFamily.SCORE
        _check_bound(f"slos.{name}.margin", tolerable)
    else:
        budget = round(1.0 - slo.objective, 12)
        tolerable, unacceptable = round(slo.tolerable_burn * budget, 12), round(slo.unacceptable_burn * budget, 12)
        family = GateFamily.BURN
        _check_bound(f"slos.{name}.tolerable_burn", tolerable)
        _check_bound(f"slos.{name}.unacceptable_burn", unacceptable)
    gate = Gate(name, name, family, slo.kind, 0.0, spec.beta, tolerable, unacceptable)
    return gate, slo.alpha_weight


def _relative_gate(
    name: str, kind: GateKind, weight: float, relative: RelativeGate, spec: RolloutSpec
) -> tuple[Gate, float]:
    if kind is GateKind.GATE and not relative.blocking:
        kind = GateKind.WATCH
    gate = Gate(
        f"{name}-relative",
        name,
        GateFamily.RELATIVE,
        kind,
        0.0,
        spec.beta,
        relative.tolerable,
        relative.unacceptable,
    )
    return gate, weight * relative.alpha_weight


def _split_alpha(drafts: Iterable[tuple[Gate, float]], alpha: float) -> list[Gate]:
    drafts = list(drafts)
    total = {blocking: sum(w for g, w in drafts if (g.kind is GateKind.GATE) is blocking) for blocking in (True, False)}
    return [
        Gate(
            gate.name,
            gate.sli,
            gate.family,
            gate.kind,
            alpha * weight / total[gate.kind is GateKind.GATE],
            gate.beta,
            gate.tolerable,
            gate.unacceptable,
        )
        for gate, weight in drafts
    ]


def _check_bound(name: str, rate: float) -> None:
    if not 0.0 < rate < 1.0:
        raise InvalidInput(
            f"{name}: the bound it sets, {rate:.4g}, is not between 0 and 1",
            hint="lower the burn (it multiplies 1 - objective) or raise the objective",
        )


def _canonical(
    spec: RolloutSpec, slos: Mapping[str, Slo], slices: tuple[str, ...], comparisons: tuple[str, ...]
) -> str:
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "spec": spec.model_dump(mode="json"),
        "slos": {name: slo.model_dump(mode="json") for name, slo in slos.items()},
        "slices": slices,
        "comparisons": comparisons,
    }
    return json.dumps(document, separators=(",", ":"))

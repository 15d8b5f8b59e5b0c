"""What a search is for, in words: ``min p95 where quality >= 97% and memory <= 1GiB``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from contracts.errors import InvalidInput
from contracts.units import (
    format_bytes,
    format_duration,
    format_fraction,
    parse_bytes,
    parse_duration_s,
    parse_fraction,
)

Metric = Literal["p95", "quality", "memory", "cost"]
Direction = Literal["min", "max"]
Relation = Literal["<=", ">="]
Figures = Mapping[Metric, float | None]

METRICS: Final[tuple[Metric, ...]] = ("p95", "quality", "memory", "cost")
EXAMPLE: Final = "min p95 where quality >= 97% and memory <= 1GiB"
HEAD: Final = re.compile(r"(min|max)\s+(\w+)(?:\s+where\s+(.+))?")
CONDITION: Final = re.compile(r"(\w+)\s*(<=|>=)\s*(\S+(?:\s?(?:%|[A-Za-z]+))?)")


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound that a figure must keep."""

    metric: Metric
    relation: Relation
    bound: float

    def holds(self, value: float | None) -> bool:
        """Tell whether a value keeps the bound; no data does not."""
        if value is None:
            return False
        return value <= self.bound if self.relation == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.metric} {self.relation} {show(self.metric, self.bound)}"


@dataclass(frozen=True, slots=True)
class Objective:
    """One figure to be as small or as large as can be, and the conditions on others."""

    direction: Direction
    metric: Metric
    conditions: tuple[Condition, ...] = ()

    def is_met(self, figures: Figures) -> bool:
        """Tell whether all conditions hold."""
        return all(condition.holds(figures.get(condition.metric)) for condition in self.conditions)

    def rank(self, figures: Figures) -> float:
        """Return a number that is smaller the better the figures are; infinite without data."""
        value = figures.get(self.metric)
        if value is None:
            return float("inf")
        return value if self.direction == "min" else -value

    def __str__(self) -> str:
        where = " and ".join(map(str, self.conditions))
        return f"{self.direction} {self.metric}" + (f" where {where}" if where else "")


def parse_objective(text: str) -> Objective:
    """Read an objective: ``min`` or ``max``, a metric, and conditions joined by ``and``.

    Metrics are ``p95`` (a duration), ``quality`` (a percentage), ``memory`` (bytes) and ``cost`` (of 1000 pictures).

    Raises:
        InvalidInput: naming what can't be read.
    """
    match = HEAD.fullmatch(" ".join(text.split()))
    if match is None:
        raise InvalidInput(f"objective: {text!r} can't be read", hint=f"write for example: {EXAMPLE}")
    direction: Direction = "min" if match[1] == "min" else "max"
    conditions = tuple(_parse_condition(part) for part in re.split(r"\s+and\s+", match[3])) if match[3] else ()
    return Objective(direction, _metric(match[2]), conditions)


def show(metric: Metric, value: float) -> str:
    """Return a figure of a metric for people."""
    if metric == "p95":
        return format_duration(value)
    if metric == "memory":
        return format_bytes(round(value))
    return format_fraction(value) if metric == "quality" else f"{value:.3g}"


def _parse_condition(text: str) -> Condition:
    match = CONDITION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"objective: {text!r} is not a condition", hint=f"write for example: {EXAMPLE}")
    metric = _metric(match[1])
    relation: Relation = "<=" if match[2] == "<=" else ">="
    return Condition(metric, relation, _bound(metric, match[3]))


def _bound(metric: Metric, text: str) -> float:
    try:
        if metric == "p95":
            return parse_duration_s(text)
        if metric == "quality":
            return parse_fraction(text)
        return float(parse_bytes(text)) if metric == "memory" else _cost(text)
    except InvalidInput as error:
        raise InvalidInput(f"objective: {metric}: {error.message}", hint=error.hint) from None


def _cost(text: str) -> float:
    try:
        cost = float(text)
    except ValueError:
        cost = -1.0
    if not 0 <= cost < float("inf"):
        raise InvalidInput(f"{text!r} is not a cost of 1000 pictures", hint="write a number: cost <= 0.02")
    return cost


def _metric(text: str) -> Metric:
    for metric in METRICS:
        if text == metric:
            return metric
    raise InvalidInput(f"objective: there is no metric {text!r}", hint=f"choose one of {', '.join(METRICS)}")

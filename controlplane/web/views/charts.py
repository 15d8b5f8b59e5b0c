"""What each chart shows: its lines, limits and band, and how its numbers are written; the browser draws from the same.

A chart says nothing of its numbers: those are columns, under the name of its series.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from contracts.notation import format_evidence
from controlplane.web.views.burn import BurnView
from controlplane.web.views.latency import LatencyView
from controlplane.web.views.rollout import Check
from controlplane.web.views.slos import SloView

MINE, THEIRS, LIMIT = "mine", "theirs", "limit"


class Number(StrEnum):
    """How a chart's numbers are written."""

    SHARE = "share"
    SCORE = "score"
    POINTS = "points"
    SIGNED = "signed"
    EVIDENCE = "evidence"
    SECONDS = "seconds"
    TIMES = "times"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it is called at its end, its column and its style; a stepped one holds until it changes."""

    label: str
    column: str
    style: str
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class Breach:
    """Points to be marked: where all ``columns`` are beyond the first limit."""

    columns: tuple[str, ...]
    above: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart; ``floor`` and ``ceiling`` are values that it shows in any case, ``log`` a logarithmic axis.

    Times are seconds since ``origin_s``, None where two rollouts are beside one another; ``of_decisions`` tells whether
    each row is a decision, named by its number.
    """

    series: str
    title: str
    number: Number
    lines: tuple[Line, ...]
    origin_s: float | None
    limits: tuple[tuple[str, float], ...] = ()
    band: tuple[str, str] | None = None
    floor: float | None = None
    ceiling: float | None = None
    log: bool = False
    breach: Breach | None = None
    of_decisions: bool = False

    @property
    def document(self) -> str:
        """What the browser draws from, as JSON."""
        told = {
            key: value
            for key, value in asdict(self).items()
            if value is not None and value is not False and value != ()
        }
        return json.dumps(told, separators=(",", ":"))


BOTH = (Line("challenger", "challenger", MINE), Line("champion", "champion", THEIRS))


def chart_traffic(origin_s: float) -> Chart:
    """Return the chart of a rollout's share of traffic."""
    lines = (Line("asked", "asked", THEIRS, stepped=True), Line("measured", "measured", MINE))
    title = "Share of live traffic"
    return Chart("traffic", title, Number.SHARE, lines, origin_s, floor=0.0, ceiling=0.1, of_decisions=True)


def chart_check(check: Check, origin_s: float) -> tuple[Chart, Chart, Chart]:
    """Return a check's charts: both values, their difference with its band, and the evidence."""
    gate, is_score = check.gate, check.family == "score"
    what = "mean score" if is_score else "share of bad answers"
    limits = (("limit", check.limit),) if check.limit is not None and check.family != "relative" else ()
    number, signed = (Number.SCORE, Number.SIGNED) if is_score else (Number.SHARE, Number.POINTS)
    values = Chart(
        f"{gate}/values", f"{gate}: {what}", number, BOTH, origin_s,
        limits=limits, floor=None if is_score else 0.0, of_decisions=True,
    )  # fmt: skip
    course = (Line("tolerated", "limit", LIMIT), Line("difference", "difference", MINE))
    difference = Chart(
        f"{gate}/values", f"{gate}: challenger minus champion", signed, course, origin_s,
        limits=(("no difference", 0.0),), band=("low", "high"), of_decisions=True,
    )  # fmt: skip
    proofs = (("1/α", check.needed), *((("1/β", check.safe_needed),) if check.safe_needed is not None else ()))
    evidence = Chart(
        f"{gate}/evidence", f"{gate}: evidence", Number.EVIDENCE,
        (Line("harm", "harm", "harm"), Line("safety", "safe", "safe")), origin_s,
        limits=proofs, floor=0.1, log=True, of_decisions=True,
    )  # fmt: skip
    return values, difference, evidence


def caption_check(check: Check) -> tuple[str, str, str]:
    """Return what stands below a check's charts."""
    what = "Mean score" if check.family == "score" else "Share of bad answers"
    safe = f", safety at 1/β = {format_evidence(check.safe_needed)}" if check.safe_needed is not None else ""
    return (
        f"{what} of both versions{'' if check.family == 'relative' else ', and the limit'}.",
        "Challenger minus champion, its 95 % band at all times, and what is tolerated.",
        f"E-values on a log axis: harm is proven at 1/α = {format_evidence(check.needed)}{safe}.",
    )


def chart_latency(latency: LatencyView, origin_s: float) -> Chart:
    """Return the chart of both versions' latency."""
    lines = (
        Line("p95", "challenger95", MINE, stepped=True),
        Line("p50", "challenger50", "mine thin", stepped=True),
        Line("champion p95", "champion95", THEIRS, stepped=True),
        Line("champion p50", "champion50", "theirs thin", stepped=True),
    )
    limits = (("objective", latency.limit_s),) if latency.limit_s is not None else ()
    return Chart("latency", "Latency", Number.SECONDS, lines, origin_s, limits=limits, floor=0.0)


def chart_burn(burn: BurnView, origin_s: float) -> Chart:
    """Return the chart of how fast a rollout's challenger burns one budget."""
    title = f"{burn.sli}: burn of the challenger"
    return _burn(f"burn/{burn.sli}", title, burn.rules[0].rule.factor, origin_s, of_decisions=True)


def chart_slo(slo: SloView) -> tuple[Chart, ...]:
    """Return an objective's charts: what was measured, and where it has a budget what is left and how it burns."""
    is_score = slo.kind == "score"
    what = "mean score" if is_score else "share of good events"
    measured = Chart(
        slo.key, f"{slo.name}: {what}", Number.SCORE if is_score else Number.SHARE,
        (Line("measured", "sli", MINE),), slo.origin_s,
        limits=(("objective", slo.objective),), ceiling=1.0, breach=Breach(("sli",), above=False),
    )  # fmt: skip
    if slo.budget is None:
        return (measured,)
    left = Chart(
        slo.key, f"{slo.name}: budget left", Number.SHARE, (Line("left", "left", THEIRS),), slo.origin_s,
        limits=(("spent", 0.0),), ceiling=1.0,
    )  # fmt: skip
    burn = _burn(f"burn/{slo.key}", f"{slo.name}: burn", slo.findings[0].rule.factor, slo.origin_s)
    return measured, left, burn


def chart_weights(first: str, second: str) -> Chart:
    """Return the chart of two rollouts' shares beside one another."""
    lines = (Line(first, "first", MINE, stepped=True), Line(second, "second", THEIRS, stepped=True))
    title = "Share of live traffic asked for"
    return Chart("weights", title, Number.SHARE, lines, origin_s=None, floor=0.0, ceiling=0.1)


def _burn(series: str, title: str, factor: float, origin_s: float, *, of_decisions: bool = False) -> Chart:
    lines = (Line("long", "long", MINE), Line("short", "short", "mine thin"))
    return Chart(
        series, title, Number.TIMES, lines, origin_s,
        limits=(("alarm", factor),), floor=0.0, breach=Breach(("short", "long"), above=True), of_decisions=of_decisions,
    )  # fmt: skip

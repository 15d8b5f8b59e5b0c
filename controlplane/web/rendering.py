"""How numbers, times and pages become HTML: everything is escaped, every number has its unit, every time its zone."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contracts.notation import format_evidence
from contracts.units import format_bytes, format_duration, format_fraction
from controlplane.web.drawing import draw_chart, show_points, show_seconds
from controlplane.web.views.slos import show_left

FOLDER = Path(__file__).parent
NONE = "–"


@cache
def templates() -> Environment:
    """Return the templates, read once."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "burn": lambda rate: NONE if rate is None or not math.isfinite(rate) else f"{rate:.3g}×",
        "bytes": format_bytes,
        "drawn": draw_chart,
        "duration": lambda seconds: format_duration(round(seconds)),
        "evidence": lambda number: NONE if number is None else format_evidence(number),
        "island": to_island,
        "left": lambda left: NONE if left is None else show_left(left),
        "measure": show_measure,
        "points": show_points,
        "pretty": lambda document: json.dumps(document, indent=1, ensure_ascii=False),
        "seconds": show_seconds,
        "segment": lambda text: quote(str(text), safe="@"),
        "share": lambda share: NONE if share is None else format_fraction(share),
        "when": show_time,
        "words": lambda text: str(text).replace("-", " "),
    }
    environment.globals["release"] = distribution_version("roost")
    return environment


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a template filled in."""
    return templates().get_template(template).render(context)


def show_time(at_s: float | None, *, day: bool = True) -> Markup:
    """Return a time in UTC, with its zone; pages with scripts add how long ago it was."""
    if at_s is None:
        return Markup("–")
    moment = datetime.fromtimestamp(at_s, UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S UTC" if day else "%H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), shown)


def show_measure(number: float | None, family: str) -> str:
    """Return a value or limit in its gate's measure: a rate, a ratio of rates, or a mean score."""
    if number is None or not math.isfinite(number):
        return NONE
    if family == "relative":
        return f"{number:.3g}×"
    return format_fraction(number) if family == "burn" else f"{number:.3f}"


def to_island(document: object) -> Markup:
    """Return JSON that can stand inside a script element, whatever text is in it."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - nothing in it can end the element

"""Parts of a Grafana dashboard, as its JSON model wants them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

SCHEMA_VERSION = 39
WIDTH = 24
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and what its lines are called; ``{{label}}`` stands for a label's value."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; ``kind`` is a plugin of Grafana's own, ``wide`` its width in 24ths.

    ``steps`` are limits, each with the colour from there on; ``base`` is the colour below the first.
    """

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    wide: int = 12
    high: int = 8
    steps: Sequence[tuple[float, str]] = ()
    base: str = "green"
    about: str = ""


def make_dashboard(title: str, panels: Sequence[Panel], *, services: str, since: str = "now-6h") -> Json:
    """Return a dashboard; ``services`` is the expression whose ``service`` labels can be chosen from."""
    return {
        "uid": "roost-" + hashlib.sha256(title.encode()).hexdigest()[:12],
        "title": title,
        "tags": ["roost"],
        "editable": True,
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "30s",
        "timezone": "",
        "time": {"from": since, "to": "now"},
        "templating": {"list": [_datasource_choice(), _service_choice(services)]},
        "annotations": {"list": [_rollouts_shown()]},
        "panels": _placed(panels),
    }


def _placed(panels: Sequence[Panel]) -> list[Json]:
    """Return the panels in rows, from left to right."""
    placed, x, y, row_high = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.wide > WIDTH:
            x, y, row_high = 0, y + row_high, 0
        placed.append(_panel(number, panel, {"x": x, "y": y, "w": panel.wide, "h": panel.high}))
        x, row_high = x + panel.wide, max(row_high, panel.high)
    return placed


def _panel(number: int, panel: Panel, place: Json) -> Json:
    is_table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + position),
            "datasource": DATASOURCE,
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
            "instant": is_table,
            "format": "table" if is_table else "time_series",
        }
        for position, query in enumerate(panel.queries)
    ]
    steps = [{"value": None, "color": panel.base}, *({"value": limit, "color": color} for limit, color in panel.steps)]
    colour = {"mode": "thresholds" if panel.steps else "palette-classic"}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "color": colour,
                "thresholds": {"mode": "absolute", "steps": steps},
                "noValue": "no data",
            },
            "overrides": [],
        },
        # Lines of a table's queries are one table, by their labels.
        "transformations": [{"id": "merge", "options": {}}] if is_table else [],
    }


def _datasource_choice() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _service_choice(services: str) -> Json:
    return {
        "name": "service",
        "label": "Service",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({services}, service)", "refId": "services"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def _rollouts_shown() -> Json:
    """Return the annotations that the control plane posts when rollouts begin and end."""
    return {
        "name": "Rollouts",
        "enable": True,
        "iconColor": "blue",
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "target": {"type": "tags", "tags": ["roost"], "matchAny": True, "limit": 100},
    }

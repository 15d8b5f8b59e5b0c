"""The files of an export: rules for Prometheus, dashboards for Grafana."""

import json
from collections.abc import Sequence

from contracts.errors import InvalidInput
from contracts.specs.service import ServiceSpec
from controlplane.slo_export.dashboards import make_dashboards
from controlplane.slo_export.indicators import indicators
from controlplane.slo_export.rules import make_rules

RULES_FILE = "roost-rules.yaml"


def export_slos(specs: Sequence[ServiceSpec]) -> dict[str, str]:
    """Return the text of each file by its name: ``roost-rules.yaml`` and one JSON per dashboard.

    The same specs give the same text, so that the files can be kept under version control.

    Raises:
        InvalidInput: when there is no spec, or two are of the same service.
    """
    names = [spec.service for spec in specs]
    if not specs:
        raise InvalidInput("there is no service to export", hint="apply a spec, or name one")
    if len(set(names)) != len(names):
        raise InvalidInput("two specs are of the same service", hint="name each service once")
    found = [one for spec in sorted(specs, key=lambda spec: spec.service) for one in indicators(spec)]
    files = {RULES_FILE: make_rules(found)}
    for name, dashboard in make_dashboards().items():
        files[f"{name}.json"] = json.dumps(dashboard, indent=2) + "\n"
    return files

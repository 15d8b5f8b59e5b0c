"""Exported rules and dashboards: checked by promtool, judged on made-up traffic, and of metrics that exist."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.clock import FakeClock
from contracts.errors import InvalidInput
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.metrics.control import ControlMetrics
from controlplane.metrics.snapshot import ControlSnapshot
from controlplane.slo_export.files import RULES_FILE, export_slos
from serving.gateway.counting import AttemptKey, AttemptTally, RequestTally, Tick
from serving.gateway.metrics import Gauges, Metrics
from serving.gateway.service import Service
from tests.controlplane.prometheus import needs_prometheus

SPEC = """
service: tags
model: m
lanes: {draft: {latency: {objective: 95%, threshold: 300ms}}, final: {}}
slos:
  availability: {objective: 99.5%}
  latency: {objective: 90%, threshold: 2s, window: 7d}
  text: {scorer: ocr, objective: 97%, margin: 2%}
"""
EVERY_MINUTE = "1m"


def spec(name: str = "tags") -> ServiceSpec:
    return load_service_spec(SPEC.replace("service: tags", f"service: {name}"))


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return export_slos([spec(), spec("other")])


def expressions(files: dict[str, str]) -> list[str]:
    """Return every expression of rules and dashboards, with Grafana's variables filled in."""
    rules = [rule["expr"] for group in yaml.safe_load(files[RULES_FILE])["groups"] for rule in group["rules"]]
    boards = [json.loads(text) for name, text in files.items() if name.endswith(".json")]
    panels = [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]
    filled = [re.sub(r"\$__(?:range|rate_interval)", "5m", text).replace("$service", ".*") for text in panels]
    return rules + filled


def exported() -> set[str]:
    """Return the names of all metrics that gateway and control plane show, from their real output."""
    tick = Tick(
        attempts={AttemptKey("tags", "m@1", "r", "final"): AttemptTally(total=1, slow={"latency": 1})},
        requests={("tags", "final"): RequestTally(total=1)},
        refusals={("tags", "policy"): 1},
    )
    services: list[Service] = []
    gateway = Metrics(lambda: tick, lambda: Gauges(services, 1, 0, 0, 0, 0)).expose().decode()
    control = ControlMetrics(FakeClock(), ControlSnapshot).render().decode()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", gateway + control, re.MULTILINE))
    histograms = {f"{name}_{part}" for name, kind in types.items() if kind == "histogram" for part in ("bucket", "sum")}
    return types.keys() | histograms


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, timeout=60)


def test_every_metric_that_is_named_is_one_that_is_shown(files: dict[str, str]) -> None:
    recorded = {
        rule["record"]
        for group in yaml.safe_load(files[RULES_FILE])["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    named = {
        name for text in expressions(files) for name in re.findall(r"\broost_[a-z_]+|service_objective:[\w:]+", text)
    }
    named = {name for name in named if not any(name in rule and name != rule for rule in recorded)}
    assert len(named) > 30
    assert named - exported() - recorded == set()


def test_every_metric_and_alert_is_documented(files: dict[str, str]) -> None:
    docs = Path(__file__).parents[2] / "docs"
    told = set(re.findall(r"`(roost_[a-z_]+)`", (docs / "reference" / "metrics.md").read_text()))
    shown = {name for name in exported() if not name.endswith(("_bucket", "_sum", "_created"))}
    assert shown - told == set()
    assert told - shown == set()
    how_to = (docs / "how-to" / "watch-with-prometheus.md").read_text()
    rules = [rule for group in yaml.safe_load(files[RULES_FILE])["groups"] for rule in group["rules"]]
    assert {rule["alert"] for rule in rules if "alert" in rule} - set(re.findall(r"`(Roost\w+)`", how_to)) == set()


def test_the_windows_and_factors_are_those_of_the_workbook(files: dict[str, str]) -> None:
    rules = [rule for group in yaml.safe_load(files[RULES_FILE])["groups"] for rule in group["rules"]]
    burns = [
        (
            rule["labels"]["severity"],
            re.findall(r"rate(\d+[mhd])", rule["expr"]),
            re.findall(r"> ([\d.]+) \*", rule["expr"]),
        )
        for rule in rules
        if rule.get("alert") == "RoostErrorBudgetBurn" and rule["labels"]["objective"] == "availability"
    ]
    # Beyer et al. 2018, table 5-8.
    assert burns[:3] == [
        ("page", ["1h", "5m"], ["14.4", "14.4"]),
        ("page", ["6h", "30m"], ["6", "6"]),
        ("ticket", ["3d", "6h"], ["1", "1"]),
    ]
    assert len(burns) == 6, "two services"


def test_the_same_specs_give_the_same_files_and_nothing_gives_none() -> None:
    assert export_slos([spec("other"), spec()]) == export_slos([spec(), spec("other")])
    with pytest.raises(InvalidInput, match="no service"):
        export_slos([])
    with pytest.raises(InvalidInput, match="same service"):
        export_slos([spec(), spec()])


def test_dashboards_are_whole(files: dict[str, str]) -> None:
    boards = {name: json.loads(text) for name, text in files.items() if name.endswith(".json")}
    assert sorted(boards) == ["roost-debug.json", "roost-executive.json", "roost-on-call.json"]
    assert len({board["uid"] for board in boards.values()}) == 3
    for board in boards.values():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, "panels don't lie on each other"
            taken |= cells
            assert panel["targets"]


@needs_prometheus
def test_promtool_accepts_the_rules_and_every_expression_of_the_dashboards(
    files: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(files[RULES_FILE])
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions(files))]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    checked = promtool("check", "rules", str(tmp_path / "panels.yaml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def requests(good: str, bad: str, lane: str = "final") -> list[dict[str, str]]:
    place = f'service="tags",lane="{lane}",instance="g"'
    return [
        {"series": f'roost_gateway_requests_total{{{place},outcome="good"}}', "values": good},
        {"series": f'roost_gateway_requests_total{{{place},outcome="error"}}', "values": bad},
        {"series": f'roost_gateway_requests_total{{{place},outcome="cancelled"}}', "values": "0+500x6000"},
    ]


def attempts(good: str, slow: str, lane: str, objective: str) -> list[dict[str, str]]:
    place = f'service="tags",version="m@1",lane="{lane}",traffic="live"'
    return [
        {"series": f'roost_gateway_attempts_total{{{place},outcome="good"}}', "values": good},
        {"series": f'roost_gateway_slow_attempts_total{{{place},objective="{objective}"}}', "values": slow},
    ]


def burns(at: str, *severities: tuple[str, str, str], shares: Sequence[float]) -> dict[str, Any]:
    """Return the test that exactly these (objective, severity, window) fire, and of the shares of the last 5 min."""
    labels = [f'{{objective="{o}", severity="{s}", window="{w}"}}' for o, s, w in severities]
    expression = 'sum by (objective, severity, window) (ALERTS{alertname="RoostErrorBudgetBurn",alertstate="firing"})'
    fired = {"expr": expression, "eval_time": at, "exp_samples": [{"labels": one, "value": 1} for one in labels]}
    share = "sort_desc(round(sum by (service) (service_objective:roost_bad:ratio_rate5m), 0.0001))"
    expected = [{"labels": '{service="tags"}', "value": value} for value in shares]
    return {"promql_expr_test": [fired, {"expr": share, "eval_time": at, "exp_samples": expected}]}


ALL = (("page", "1h"), ("page", "6h"), ("ticket", "3d"))
SCENES: dict[str, dict[str, Any]] = {
    # 10 % bad is 20 times a budget of 0.5 %: the fast rule, the middle one, and the slow one.
    "a steep burn": {
        "input_series": requests("0+90x200", "0+10x200"),
        **burns("2h", *[("availability", *one) for one in ALL], shares=[0.1]),
    },
    # 4 % bad is 8 times.
    "a slower burn": {
        "input_series": requests("0+96x400", "0+4x400"),
        **burns("6h", ("availability", "page", "6h"), ("availability", "ticket", "3d"), shares=[0.04]),
    },
    # 0.4 % bad is 0.8 times, within what is promised; cancelled ones count nowhere.
    "a promise kept": {"input_series": requests("0+996x400", "0+4x400"), **burns("6h", shares=[0.004])},
    # An hour after the trouble ended the short window has forgotten it.
    "trouble that is over": {
        "input_series": requests("0+90x60 5490+100x60", "0+10x60 600+0x60"),
        **burns("2h", ("availability", "ticket", "3d"), shares=[0]),
    },
    "nothing bad has no series": {"input_series": requests("0+100x400", "_x400")[:1], **burns("6h", shares=[0])},
    "no traffic at all": {"input_series": requests("5+0x400", "1+0x400"), **burns("6h", shares=[])},
    # All of the draft lane is slow, none of the final one.
    "a lane's own objective": {
        "input_series": attempts("0+50x400", "0+50x400", "draft", "latency-draft")
        + attempts("0+950x400", "0+0x400", "final", "latency"),
        **burns("6h", *[("latency-draft", *one) for one in ALL], shares=[1.0]),
    },
}


@needs_prometheus
@pytest.mark.parametrize("scene", SCENES)
def test_alerts_fire_when_they_should_and_only_then(scene: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(export_slos([spec()])[RULES_FILE])
    test = {"interval": EVERY_MINUTE, **SCENES[scene]}
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "5m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    judged = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert judged.returncode == 0, judged.stdout + judged.stderr


@needs_prometheus
def test_budgets_scores_and_the_control_plane_itself(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(export_slos([spec()])[RULES_FILE])
    firing = 'sum by (alertname, severity) (ALERTS{alertstate="firing",alertname!="RoostErrorBudgetBurn"})'
    left = 'round(service_objective:roost_error_budget:left_ratio{objective="availability"}, 0.01)'
    series = [
        # 0.25 % bad spends half of 0.5 %.
        *requests("0+1995x400", "0+5x400"),
        {"series": 'roost_slo_indicator{service="tags",objective="text",instance="c"}', "values": "0.94x400"},
        {"series": 'roost_leader{instance="a"}', "values": "0x400"},
        {"series": 'roost_rollout_decision_age_seconds{service="tags"}', "values": "90x400"},
        {"series": 'roost_outbox_messages{state="given-up"}', "values": "1x400"},
    ]
    names = {
        "RoostScoreLow": "ticket",
        "RoostNoLeader": "page",
        "RoostDecisionOld": "page",
        "RoostMessagesLost": "ticket",
        "RoostGatewayUnseen": "page",
    }
    fired = [{"labels": f'{{alertname="{name}", severity="{s}"}}', "value": 1} for name, s in names.items()]
    recorded = [{"labels": '{objective="availability", service="tags"}', "value": 0.5}]
    tests = [
        {"expr": firing, "eval_time": "1h", "exp_samples": fired},
        {"expr": left, "eval_time": "6h", "exp_samples": recorded},
    ]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "5m",
        "tests": [{"interval": EVERY_MINUTE, "input_series": series, "promql_expr_test": tests}],
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document))
    judged = promtool("test", "rules", str(tmp_path / "test.yaml"))
    assert judged.returncode == 0, judged.stdout + judged.stderr

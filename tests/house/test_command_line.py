"""The command line as a person meets it: quick, with clear errors and documented exit statuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlplane.cli.main import app

ROOST = Path(sys.executable).with_name("roost")


def roost(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOST, *words], capture_output=True, text=True, input=text, timeout=60, check=False)


def test_help_starts_no_heavy_library_and_answers_quickly() -> None:
    def measure(command: list[str]) -> float:
        """Return the processor time of a command: unlike the time on the wall it hardly grows on a busy machine."""
        before = os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    bare_s = min(measure([sys.executable, "-c", "import typing, dataclasses, json"]) for _ in range(5))
    help_s = min(measure([str(ROOST), "--help"]) for _ in range(5))
    assert help_s < max(0.3, 12 * bare_s)


def test_a_valid_spec_tells_its_objectives(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("{service: tags, model: price-tags, slos: {availability: {objective: 99.5%}}}")
    answer = roost("spec", "validate", str(file))
    assert answer.returncode == 0
    assert "availability" in answer.stdout


def test_every_mistake_of_a_spec_is_told_with_its_path() -> None:
    spec = "{service: tags, model: price-tags, slos: {a: {objectiv: 99%}}, fallback: {on: [oom], to: nowhere}, x: 1}"
    answer = roost("spec", "validate", "-", text=spec)
    assert answer.returncode == 6
    for path in ("slos.a.objectiv", "slos.a.objective", "fallback.to", "x"):
        assert f"  {path}: " in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("spec", "validate", "/no/such/file.yaml"), 2),
        (("spec", "schema", "nonsense"), 3),
        (("decision", "verify", "--home", "/no/such/folder"), 3),
        (("demo", "run", "--rate", "0"), 2),
        (("no-such-command",), 2),
        (("help", "no-such-topic"), 3),
        (("explain", "no-such-code"), 3),
        (("rollout", "list", "--home", "/no/such/folder"), 5),
        (("rollout", "wait", "x", "--until", "tuesday", "--server", "http://127.0.0.1:1"), 2),
        (("rollout", "wait", "x", "--timeout", "long", "--server", "http://127.0.0.1:1"), 2),
        (("service", "apply", "/no/such/file.yaml", "--server", "http://127.0.0.1:1"), 2),
        (("open", "no-such-page"), 2),
        (("up", "--host", "0.0.0.0", "--home", "/no/such/folder"), 2),
    ],
)
def test_wrong_input_has_a_message_and_a_status(words: tuple[str, ...], status: int) -> None:
    answer = roost(*words)
    assert answer.returncode == status
    assert answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_schema_is_json() -> None:
    assert json.loads(roost("spec", "schema").stdout)["title"] == "ServiceSpec"


def test_the_version_is_that_of_the_distribution() -> None:
    assert roost("--version").stdout.startswith("roost 0.")


def test_a_demo_that_ends_otherwise_has_exit_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = []
    for as_expected in (True, False):
        monkeypatch.setattr("controlplane.demo.run.run_demo", lambda *_, ok=as_expected, **__: ok)
        statuses.append(CliRunner().invoke(app, ["demo", "run"]).exit_code)
    assert statuses == [0, 1]

"""The documentation is complete: whatever people and programs meet has its entry, and examples are what they seem."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import typer
import yaml

from contracts.errors import NotFound, RoostError
from contracts.model import Frozen
from contracts.specs import monitor, rollout, service, slo, watch
from contracts.specs.loading import load_service_spec
from controlplane.api import access
from controlplane.cli.exit_status import MEANINGS as EXIT_STATUSES
from controlplane.cli.exit_status import ExitStatus
from controlplane.cli.main import app
from controlplane.notify import settings as notify
from controlplane.telemetry_sources import settings as telemetry
from rollout.actions import ReasonCode
from rollout.meanings import ACTIONS, DECISIONS, ERRORS, EVENTS, PHASES, explain, meanings
from rollout.phases import ManualKind, Phase
from rollout.policy import compile_policy

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
HOUSES = ("contracts", "rollout", "registry", "evaluation", "serving", "controlplane")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))
PAGE_OF = {
    rollout: "service-spec.md",
    service: "service-spec.md",
    slo: "service-spec.md",
    monitor: "service-spec.md",
    watch: "service-spec.md",
    access: "home-and-environment.md",
    notify: "home-and-environment.md",
    telemetry: "home-and-environment.md",
}
MODELS = sorted(
    {
        (kind, PAGE_OF[module])
        for module in PAGE_OF
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Frozen) and kind.__module__ == module.__name__
    },
    key=lambda found: found[0].__name__,
)
COMMANDS: Any = typer.main.get_command(app)
METRIC = re.compile(r"\"(roost_[a-z_]+)\"")
EVENT_CODE = re.compile(r"[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)+")


@cache
def code() -> dict[Path, str]:
    return {path: path.read_text() for path in SOURCES}


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", DOCS / "generate" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    """Return what people wrote of a reference page: its generated tables left out."""
    text = (DOCS / "reference" / name).read_text()
    return re.sub(r"<!-- table: .*?<!-- end of table -->", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(("model", "name"), MODELS, ids=lambda found: getattr(found, "__name__", ""))
def test_every_setting_is_documented(model: type[Frozen], name: str) -> None:
    text = page(name)
    missing = [name for name in model.model_fields if f"{name}`" not in text and f"`{name}" not in text]
    assert not missing


def test_every_key_stands_in_a_generated_table(tables: ModuleType) -> None:
    rows = [row for name in ("settings", "access", "notify", "telemetry") for row in tables.TABLES[name]()]
    for model, _ in MODELS:
        assert [name for name in model.model_fields if not any(f"{name}`" in row for row in rows)] == []


def test_defaults_that_are_told_are_those_in_force(tables: ModuleType) -> None:
    generated: dict[str, set[str]] = {}
    for name, default in re.findall(
        r"^\| `(?:.*\.)?(\w+)` \| .*? \| (.*?) \|", "\n".join(tables.TABLES["settings"]()), re.MULTILINE
    ):
        generated.setdefault(name, set()).add(default.strip("`"))
    told = re.findall(r"^\| `(?:[^`]*\.)?(\w+)` \| (`[^`]+`|[\d.]+(?: %)?) \|", page("service-spec.md"), re.MULTILINE)
    assert len(told) > 30
    assert [f"{name}: {text}" for name, text in told if text.strip("`").replace(" ", "") not in generated[name]] == []


def test_every_objective_kind_is_told() -> None:
    kinds = [get_args(option)[0].__name__ for option in get_args(get_args(slo.Slo)[0])]
    text = page("service-spec.md")
    assert kinds
    assert all(kind.removesuffix("Slo").lower() in text for kind in kinds)


def test_every_command_and_option_says_what_it_does(tables: ModuleType) -> None:
    silent = []
    for path, command in tables.all_commands():
        silent += [path] if not str(command.help or "").rstrip().endswith(".") else []
        silent += [f"{path} {option.name}" for option in command.params if not option.help and option.name != "help"]
    assert not silent


def test_every_decision_phase_and_action_has_its_meaning() -> None:
    assert (set(DECISIONS), set(PHASES), set(ACTIONS)) == (set(ReasonCode), set(Phase), set(ManualKind))
    for name, sentence in meanings().items():
        assert sentence.endswith("."), name
        assert explain(name) == sentence


def test_every_error_code_has_its_meaning() -> None:
    declared = re.compile(r"^    code(?:: ClassVar\[str\])? = \"([^\"]+)\"$", re.MULTILINE)
    assert {found for text in code().values() for found in declared.findall(text)} == set(ERRORS)


def test_every_event_that_is_told_has_its_meaning() -> None:
    told = {found for text in code().values() if "Event(" in text or "notify(" in text for found in event_codes(text)}
    assert told
    assert told - set(map(str, DECISIONS)) - set(EVENTS) == set()
    everything = "".join(text for path, text in code().items() if path.name != "meanings.py")
    assert [event for event in EVENTS if f'"{event}"' not in everything] == []


def event_codes(text: str) -> Iterator[str]:
    """Codes given to ``Event`` or to a function that tells one, as they stand in the code."""
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            given = [word.value for word in call.keywords if word.arg == "code"] + call.args[:1]
            if name == "Event" or name.endswith("notify"):
                for value in given:
                    if isinstance(value, ast.Constant) and EVENT_CODE.fullmatch(str(value.value)):
                        yield str(value.value)


def test_an_unknown_code_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound) as caught:
        explain("gate.harm-prooven")
    assert "gate.harm-proven" in caught.value.hint


def test_every_exit_status_has_its_meaning() -> None:
    def below(kind: type[RoostError]) -> Iterator[int]:
        yield kind.exit_status
        for child in kind.__subclasses__():
            yield from below(child)

    assert set(EXIT_STATUSES) == set(ExitStatus)
    assert set(below(RoostError)) <= {int(status) for status in ExitStatus}


def test_generated_tables_are_as_the_code_is(tables: ModuleType) -> None:
    asked = {name for path in PAGES for name in re.findall(r"<!-- table: ([a-z-]+) -->", path.read_text())}
    assert asked == set(tables.TABLES)
    stale = [path.name for path in DOCS.rglob("*.md") if tables.refresh(path.read_text()) != path.read_text()]
    assert not stale, "run `make docs`"


def test_every_environment_variable_is_documented() -> None:
    text = page("home-and-environment.md")
    names = {name for found in code().values() for name in re.findall(r"\"(ROOST_[A-Z_]+)\"", found)}
    assert names
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_every_metric_is_documented() -> None:
    text = page("metrics.md")
    named = {name for path, found in code().items() for name in METRIC.findall(found) if "metrics" in str(path)}
    assert len(named) > 30
    assert [name for name in sorted(named) if not re.search(rf"`{name}(_total|_info)?`", text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_specs_on_a_page_are_valid(path: Path) -> None:
    for block in re.findall(r"^```yaml.*?\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        if re.match(r"(#.*\n)*service: ", block):
            spec = load_service_spec(block, path.name)
            compile_policy(spec.rollout, spec.objectives())


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("access.yaml", access.AccessSpec),
        ("notify.yaml", notify.NotifySettings),
        ("telemetry.yaml", telemetry.PrometheusTelemetry),
    ],
)
def test_settings_of_a_home_on_the_page_are_valid(heading: str, model: type[Frozen]) -> None:
    below = page("home-and-environment.md").partition(f"### {heading}\n")[2]
    example = re.search(r"```yaml\n(.*?)```", below, re.DOTALL)
    assert example is not None
    assert model.model_validate(yaml.safe_load(example[1]))


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")


def test_tests_that_pages_name_exist() -> None:
    named = {found for path in PAGES for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text())}
    assert named
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert not missing


def test_commands_and_options_on_a_page_exist() -> None:
    call = re.compile(r"(?:^(?:\$ )?|`|\$\()(?:\.venv/bin/)?roost ([^`|;#)\n]*)", re.MULTILINE)
    called = [(path, line) for path in PAGES for line in call.findall(path.read_text())]
    assert len(called) > 100
    assert [f"{path.name}: roost {line}" for path, line in called if not exists(line.split())] == []


def exists(words: list[str]) -> bool:
    """Whether there is such a command, and it has all the long options."""
    command = COMMANDS
    while words and hasattr(command, "commands") and re.fullmatch("[a-z][a-z-]*", words[0]):
        command = command.commands.get(words.pop(0))
    if command is None:
        return False
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= known

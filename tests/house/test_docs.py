"""The documentation is complete: whatever people and programs meet has its entry, and examples are what they seem."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import typer

from contracts.errors import NotFound, RoostError
from contracts.model import Frozen
from contracts.specs import monitor, rollout, service, slo
from contracts.specs.loading import load_service_spec
from controlplane.cli.exit_status import MEANINGS as EXIT_STATUSES
from controlplane.cli.exit_status import ExitStatus
from controlplane.cli.main import app
from rollout.actions import ReasonCode
from rollout.meanings import ACTIONS, DECISIONS, ERRORS, EVENTS, PHASES, explain, meanings
from rollout.phases import ManualKind, Phase
from rollout.policy import compile_policy

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
HOUSES = ("contracts", "rollout", "registry", "evaluation", "serving", "controlplane")
SOURCES = sorted(path for house in HOUSES for path in (ROOT / house).rglob("*.py"))
MODELS = [
    kind
    for module in (service, rollout, slo, monitor)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Frozen) and kind is not Frozen
]
COMMANDS: Any = typer.main.get_command(app)
EVENT_CODE = re.compile(r"[a-z]+(-[a-z]+)*(\.[a-z]+(-[a-z]+)*)+")


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


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_setting_is_documented(model: type[Frozen]) -> None:
    text = page("service-spec.md")
    missing = [name for name in model.model_fields if f"{name}`" not in text and f"`{name}" not in text]
    assert not missing


def test_every_key_of_a_spec_stands_in_the_generated_table(tables: ModuleType) -> None:
    rows = list(tables.settings())
    for model in MODELS:
        assert [name for name in model.model_fields if not any(f"{name}`" in row for row in rows)] == []


def test_defaults_that_are_told_are_those_in_force(tables: ModuleType) -> None:
    generated: dict[str, set[str]] = {}
    for name, default in re.findall(
        r"^\| `(?:.*\.)?(\w+)` \| .*? \| (.*?) \|", "\n".join(tables.settings()), re.MULTILINE
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


def test_every_command_is_documented() -> None:
    text = page("command-line.md")
    assert [command for command in commands() if f"`{command}`" not in text] == []


def commands() -> list[str]:
    found = [
        f"roost {name} {sub}".strip()
        for name, child in COMMANDS.commands.items()
        for sub in getattr(child, "commands", [""])
    ]
    assert found
    return found


def test_every_decision_phase_and_action_has_its_meaning() -> None:
    assert (set(DECISIONS), set(PHASES), set(ACTIONS)) == (set(ReasonCode), set(Phase), set(ManualKind))
    for code, sentence in meanings().items():
        assert sentence.endswith("."), code
        assert explain(code) == sentence


def test_every_error_code_has_its_meaning() -> None:
    declared = re.compile(r"^    code(?:: ClassVar\[str\])? = \"(.+)\"$", re.MULTILINE)
    assert {code for path in SOURCES for code in declared.findall(path.read_text())} == set(ERRORS)


def test_every_event_that_is_told_has_its_meaning() -> None:
    told = {code for path in SOURCES for code in event_codes(ast.parse(path.read_text()))}
    assert told
    assert told - set(map(str, DECISIONS)) == set(EVENTS)


def event_codes(tree: ast.Module) -> Iterator[str]:
    """Codes given to ``Event`` or to a function that tells one, as they stand in the code."""
    for call in ast.walk(tree):
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
    names = {name for path in SOURCES for name in re.findall(r"\"(ROOST_[A-Z_]+)\"", path.read_text())}
    assert names
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_specs_on_a_page_are_valid(path: Path) -> None:
    for block in re.findall(r"^```yaml.*?\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        if re.match(r"(#.*\n)*service: ", block):
            spec = load_service_spec(block, path.name)
            compile_policy(spec.rollout, spec.objectives())


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

"""The documentation is complete: every setting, command, error code and exit status has its entry."""

from pathlib import Path
from typing import get_args

import pytest
import typer

from contracts.errors import InvalidInput, RoostError
from contracts.model import Frozen
from contracts.specs import rollout, service, slo
from controlplane.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
MODELS = [
    kind
    for module in (service, rollout, slo)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Frozen) and kind is not Frozen
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_setting_is_documented(model: type[Frozen]) -> None:
    text = (DOCS / "reference" / "service-spec.md").read_text()
    missing = [name for name in model.model_fields if f"{name}`" not in text and f"`{name}" not in text]
    assert not missing


def test_every_command_is_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text()
    group = typer.main.get_command(app)
    commands = [
        f"roost {name} {sub}".strip()
        for name, child in group.commands.items()  # type: ignore[attr-defined]
        for sub in getattr(child, "commands", [""])
    ]
    assert commands
    assert [command for command in commands if f"`{command}`" not in text] == []


def test_every_error_code_and_status_is_documented() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text()
    kinds: list[type[RoostError]] = [RoostError, *RoostError.__subclasses__(), *InvalidInput.__subclasses__()]
    assert [kind.code for kind in kinds if f"| `{kind.code}` |" not in text] == []
    assert [kind.exit_status for kind in kinds if f"| {kind.exit_status} |" not in text] == []


def test_every_objective_kind_is_told() -> None:
    kinds = [get_args(option)[0].__name__ for option in get_args(get_args(slo.Slo)[0])]
    text = (DOCS / "reference" / "service-spec.md").read_text()
    assert kinds
    assert all(kind.removesuffix("Slo").lower() in text for kind in kinds)

"""Writes the reference tables that are made from the code into the pages; ``make docs`` runs it.

What stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` in a page is written anew.
"""  # noqa: INP001 - a script, not a package

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contracts.errors import RoostError
from contracts.specs.service import ServiceSpec
from contracts.units import format_bytes, format_duration, format_fraction
from controlplane.api.access import AccessSpec
from controlplane.cli.exit_status import MEANINGS as EXIT_STATUSES
from controlplane.cli.main import app
from controlplane.keeping import KeepSpec
from controlplane.notify.settings import NotifySettings
from controlplane.settings import Settings
from controlplane.telemetry_sources.settings import PrometheusTelemetry
from rollout.actions import NOTIFYING
from rollout.meanings import ACTIONS, DECISIONS, ERRORS, EVENTS, PHASES
from rollout.phases import ENDED, LEGAL, Phase

PAGES = Path(__file__).parents[1]
TABLE = re.compile(r"^<!-- table: ([a-z-]+) -->\n.*?^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
SIGNS: dict[type, tuple[str, str]] = {Gt: (">", "gt"), Ge: ("≥", "ge"), Lt: ("<", "lt"), Le: ("≤", "le")}
QUANTITIES = {"99.5%": "share", "400ms": "duration", "512MiB": "size"}


def refresh(page: str) -> str:
    """Return a page with its tables as the code has them now.

    Raises:
        KeyError: when the page asks for a table that there isn't.
    """
    return TABLE.sub(lambda match: "\n".join(_marked(match[1])), page)


def _marked(name: str) -> Iterator[str]:
    yield from (f"<!-- table: {name} -->", "", *TABLES[name](), "", "<!-- end of table -->")


def decision_codes() -> Iterator[str]:
    """Yield why a decision was what it was."""
    yield from _head("code", "when, and what to do", "notifies")
    for code, sentence in DECISIONS.items():
        yield _row(f"`{code}`", sentence, "yes" if code in NOTIFYING else "")


def event_codes() -> Iterator[str]:
    """Yield the events that are no decisions."""
    yield from _head("code", "when, and what to do")
    for code, sentence in EVENTS.items():
        yield _row(f"`{code}`", sentence)


def error_codes() -> Iterator[str]:
    """Yield the codes of errors; those without an exit status are the gateway's and reach clients only."""
    statuses = {kind.code: str(kind.exit_status) for kind in _errors(RoostError)}
    yield from _head("code", "exit status", "when, and what to do")
    for code, sentence in ERRORS.items():
        yield _row(f"`{code}`", statuses.get(code, ""), sentence)


def exit_statuses() -> Iterator[str]:
    """Yield how a command may end."""
    yield from _head("status", "meaning")
    for status, sentence in EXIT_STATUSES.items():
        yield _row(str(int(status)), sentence)


def all_commands() -> Iterator[tuple[str, Any]]:
    """Yield every command's full name and click's object of it."""
    yield from _commands(COMMAND_LINE, "roost")


def commands() -> Iterator[str]:
    """Yield every command with the first paragraph of its help."""
    yield from _head("command", "what it does")
    for path, command in all_commands():
        yield _row(f"`{path}`", _first_paragraph(command))


def shared_options() -> Iterator[str]:
    """Yield the options that many commands have."""
    yield from _head("option", "meaning")
    yield from (_row(*told) for told in reversed(dict(reversed(_shared())).items()))


def options() -> Iterator[str]:
    """Yield a section for each command: its arguments and options, the shared ones by name."""
    shared = _shared()
    for path, command in all_commands():
        rows = [_told(one) for one in command.params if one.name != "help"]
        also = [told[0] for told in rows if told in shared]
        yield from (f"## {path}", "", str(command.help).replace("``", "`"), "")
        if len(also) < len(rows):
            yield from _head("argument or option", "meaning")
            yield from (_row(*told) for told in rows if told not in shared)
            yield ""
        if also:
            yield from (f"Also {', '.join(also)}.", "")


def phases() -> Iterator[str]:
    """Yield the phases, and what a person may ask in each."""
    yield from _head("phase", "meaning", "a person may")
    for phase, sentence in PHASES.items():
        legal = ", ".join(f"`{kind}`" for kind, where in LEGAL.items() if phase in where)
        yield _row(f"`{phase}`", sentence, legal or ("nothing: it has ended" if phase in ENDED else "nothing"))


def actions() -> Iterator[str]:
    """Yield what a person may ask, and when."""
    yield from _head("action", "what it does", "possible while")
    for kind, sentence in ACTIONS.items():
        impossible = [phase for phase in Phase if phase not in LEGAL[kind]]
        few = len(impossible) < len(LEGAL[kind])
        where = ", ".join(f"`{phase}`" for phase in (impossible if few else sorted(LEGAL[kind])))
        yield _row(f"`{kind}`", sentence, f"all but {where}" if few else where)


def home_files() -> Iterator[str]:
    """Yield what lies where in the home folder."""
    yield from _head("file or folder", "what it is")
    home = Settings()
    for name, member in vars(Settings).items():
        if isinstance(member, property):
            place = str(getattr(home, name)).rpartition(f"{home.home}/")[2]
            yield _row(f"`{place}`", str(member.__doc__).replace("``", "`"))


def settings_of(model: type[BaseModel]) -> Iterator[str]:
    """Yield every key of a document with its kind, default and bounds."""
    yield from _head("key", "kind", "default", "bounds")
    yield from _keys(model, "")


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        told = _resolve(schema["properties"][name], schema)
        path, kind = f"{prefix}{name}", _kind(told, schema)
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True), told)
        yield _row(f"`{path}`", kind, default, _bounds(field, told))
        below = list(_models(field.annotation))
        many = {"dict": ".NAME", "tupl": ".*"}.get(str(field.annotation)[:4], "")
        for inner in below:
            yield from _keys(inner, f"{path}{many}{_sort_of(inner) if len(below) > 1 else ''}.")


def _sort_of(model: type[BaseModel]) -> str:
    return f" ({model.__name__.removesuffix('Slo').lower()})"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models(part)


def _resolve(told: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    options = [one for one in told.get("anyOf", ()) if one != {"type": "null"}]
    told = {**told, **options[0]} if options else told
    reference = told.get("$ref")
    return {**schema["$defs"][reference.rpartition("/")[2]], **told} if reference else told


def _kind(told: dict[str, Any], schema: dict[str, Any]) -> str:
    if "enum" in told:
        return " or ".join(f"`{value}`" for value in told["enum"])
    quantity = QUANTITIES.get(str(told.get("examples", [""])[0]))
    if quantity is not None:
        return quantity
    if told.get("type") == "array":
        return f"list of {_kind(_resolve(told['items'], schema), schema)}"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    return "by name" if "patternProperties" in told else names.get(str(told.get("type")), "keys below")


def _default(value: object, told: dict[str, Any]) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, BaseModel):
        return "the keys' own"
    return f"`{_show(value, told)}`"


def _show(value: Any, told: dict[str, Any]) -> str:
    quantity = QUANTITIES.get(str(told.get("examples", [""])[0]))
    if quantity == "share":
        return format_fraction(value).replace(" ", "")
    if quantity == "duration":
        return format_duration(value)
    if quantity == "size":
        return format_bytes(value).replace(" ", "")
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _bounds(field: FieldInfo, told: dict[str, Any]) -> str:
    found = []
    for limit in _limits(field):
        sign, name = SIGNS[type(limit)]
        bound = getattr(limit, name)
        found.append(f"{sign} {_show(bound, told) if bound else 0}")
    return ", ".join(found)


def _limits(field: FieldInfo) -> Iterator[Any]:
    """Yield a field's limits; those of an optional one lie within its annotation."""
    for part in getattr(field.annotation, "__args__", ()):
        for inner in getattr(part, "__metadata__", ()):
            if isinstance(inner, FieldInfo):
                yield from _limits(inner)
    yield from (limit for limit in field.metadata if type(limit) in SIGNS)


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        elif not command.hidden:
            yield f"{path} {name}", command


@cache
def _shared() -> list[tuple[str, str]]:
    counts = Counter(_told(one) for _, command in all_commands() for one in command.params)
    return [
        told for told, count in counts.items() if count >= OFTEN and told[0].startswith("`--") and told[0] != "`--help`"
    ]


def _told(one: Any) -> tuple[str, str]:
    """Return an argument or option as it is written, and what it means."""
    is_option = one.param_type_name == "option"
    name = ", ".join(f"`{text}`" for text in one.opts) if is_option else f"`{one.name.upper()}`"
    told = str(one.help or "").replace("``", "`")
    if is_option and not one.is_flag and isinstance(one.default, str | int | float | Path) and str(one.default):
        told += f" Default: `{one.default}`."
    return name, told + (f" Variable: `{one.envvar}`." if one.envvar else "")


def _first_paragraph(command: Any) -> str:
    return " ".join(str(command.help).split("\n\n", maxsplit=1)[0].replace("``", "`").split())


def _errors(kind: type[RoostError]) -> Iterator[type[RoostError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == kind.__module__:  # what else was imported meanwhile has the codes of these
            yield from _errors(below)


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + "---|" * len(names)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


COMMAND_LINE: Any = typer.main.get_command(app)
OFTEN = 8
TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "commands": commands,
    "shared-options": shared_options,
    "options": options,
    "decision-codes": decision_codes,
    "event-codes": event_codes,
    "error-codes": error_codes,
    "exit-statuses": exit_statuses,
    "phases": phases,
    "actions": actions,
    "home-files": home_files,
    "settings": lambda: settings_of(ServiceSpec),
    "access": lambda: settings_of(AccessSpec),
    "notify": lambda: settings_of(NotifySettings),
    "telemetry": lambda: settings_of(PrometheusTelemetry),
    "keep": lambda: settings_of(KeepSpec),
}

if __name__ == "__main__":
    for path in sorted(PAGES.rglob("*.md")):
        before = path.read_text()
        after = refresh(before)
        if after != before:
            path.write_text(after)

"""Writes the reference tables that are made from the code into the pages; ``make docs`` runs it.

What stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->`` in a page is written anew.
"""  # noqa: INP001 - a script, not a package

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contracts.errors import RoostError
from contracts.specs.service import ServiceSpec
from contracts.specs.slo import AvailabilitySlo, LatencySlo, ScoreSlo
from contracts.units import format_bytes, format_duration, format_fraction
from controlplane.cli.exit_status import MEANINGS as EXIT_STATUSES
from controlplane.settings import Settings
from rollout.actions import NOTIFYING
from rollout.meanings import ACTIONS, DECISIONS, ERRORS, EVENTS, PHASES
from rollout.phases import ENDED, LEGAL, Phase

PAGES = Path(__file__).parents[1]
TABLE = re.compile(r"^<!-- table: ([a-z-]+) -->\n.*?^<!-- end of table -->$", re.MULTILINE | re.DOTALL)
SIGNS: dict[type, tuple[str, str]] = {Gt: (">", "gt"), Ge: ("≥", "ge"), Lt: ("<", "lt"), Le: ("≤", "le")}
QUANTITIES = {"99.5%": "share", "400ms": "duration", "512MiB": "size"}
OBJECTIVES = {"availability": AvailabilitySlo, "latency": LatencySlo, "score": ScoreSlo}


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


def settings() -> Iterator[str]:
    """Yield every key of a service spec with its kind, default and bounds."""
    yield from _head("key", "kind", "default", "bounds")
    yield from _keys(ServiceSpec, "")


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        told = _resolve(schema["properties"][name], schema)
        path, kind = f"{prefix}{name}", _kind(told, schema)
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True), told)
        yield _row(f"`{path}`", kind, default, _bounds(field, told))
        yield from _below(path)


def _below(path: str) -> Iterator[str]:
    """Yield the keys below one whose value is another document."""
    if path == "slos":
        for kind, model in OBJECTIVES.items():
            yield from _keys(model, f"slos.NAME ({kind}).")
        return
    model, between = NESTED.get(path, (None, ""))
    if model is not None:
        yield from _keys(model, f"{path}.{between}")


def _nested(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, tuple[type[BaseModel], str]]]:
    for name, field in model.model_fields.items():
        found = [one for one in _models(field.annotation) if not issubclass(one, tuple(OBJECTIVES.values()))]
        if found:
            kind = str(field.annotation)
            between = "NAME." if kind.startswith("dict") else "*." if kind.startswith("tuple") else ""
            yield f"{prefix}{name}", (found[0], between)
            yield from _nested(found[0], f"{prefix}{name}.{between}")


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


def _errors(kind: type[RoostError]) -> Iterator[type[RoostError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _errors(below)


def _head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield "|" + "---|" * len(names)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


NESTED = dict(_nested(ServiceSpec))
TABLES = {
    "decision-codes": decision_codes,
    "event-codes": event_codes,
    "error-codes": error_codes,
    "exit-statuses": exit_statuses,
    "phases": phases,
    "actions": actions,
    "home-files": home_files,
    "settings": settings,
}

if __name__ == "__main__":
    for path in sorted(PAGES.rglob("*.md")):
        before = path.read_text()
        after = refresh(before)
        if after != before:
            path.write_text(after)

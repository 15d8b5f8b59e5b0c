"""Writes the endpoints into the reference page of the API, from its OpenAPI document; ``make docs`` runs it.

What stands between ``<!-- endpoints -->`` and ``<!-- end of endpoints -->`` is written anew.
"""  # noqa: INP001 - a script, not a package

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.api.app import PREFIX, ROLE_KEY, assemble

PAGE = Path(__file__).parents[1] / "reference" / "api.md"
MARKED = re.compile(r"^<!-- endpoints -->\n.*?^<!-- end of endpoints -->$", re.MULTILINE | re.DOTALL)
PAGED = {"cursor", "limit"}
SHARED = PAGED | {"Idempotency-Key"}
TITLES = {
    "services": "Services",
    "rollouts": "Rollouts",
    "safety": "Kills and freezes",
    "decisions": "Decisions and audit",
    "jobs": "Jobs",
    "versions": "Models and versions",
    "serving": "Fleet, objectives, health",
    "quality": "Quality",
    "rehearsals": "Rehearsals",
    "access": "Access",
    "stream": "Stream",
}


def refresh(page: str) -> str:
    """Return a page with the endpoints as the code has them now."""
    return MARKED.sub(lambda _: "\n".join(["<!-- endpoints -->", *_endpoints(), "", "<!-- end of endpoints -->"]), page)


def _endpoints() -> Iterator[str]:
    document = assemble().openapi()
    schemas = document["components"]["schemas"]
    for tag, title in TITLES.items():
        yield from ("", f"### {title}")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if operation["tags"][-1] == tag:
                    yield from _endpoint(method, path, operation, schemas)


def _endpoint(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    parameters = operation.get("parameters", [])
    names = {one["name"] for one in parameters}
    notes = [operation[ROLE_KEY] or "nobody need be known"]
    notes += ["paged"] if names >= PAGED else []
    notes += ["takes a key"] if "Idempotency-Key" in names else []
    yield from ("", f"#### {method.upper()} {PREFIX}{path}", "", f"{operation['description']} *({', '.join(notes)})*")
    rows = [
        (one["name"], one["in"], one["schema"], one.get("required", False), one.get("description", ""))
        for one in parameters
        if one["name"] not in SHARED and one["in"] != "path"
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    model = _resolve(body, schemas)
    for name, schema in model.get("properties", {}).items():
        rows.append((name, "body", schema, name in model.get("required", ()), schema.get("description", "")))
    if rows:
        yield from ("", "| key | in | kind | |", "|---|---|---|---|")
    for name, where, schema, required, told in rows:
        said = ", ".join(part for part in ("required" if required else "", told) if part)
        yield f"| `{name}` | {where} | {_kind(schema, schemas)} | {said} |"
    good = (answer for status, answer in operation["responses"].items() if status.startswith("2"))
    answers = dict.fromkeys(told for answer in good for told in _answers(answer, schemas))
    if answers:
        yield from ("", f"Answers {' or '.join(answers)}.")


def _answers(answer: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    for option in schema.get("anyOf", [schema]):
        keys = _resolve(option, schemas).get("properties", {})
        if keys:
            yield _page(keys, schemas) if "items" in keys else f"`{{{', '.join(keys)}}}`"


def _page(keys: dict[str, Any], schemas: dict[str, Any]) -> str:
    item = _resolve(keys["items"]["items"], schemas)
    return f"`items` of `{{{', '.join(item.get('properties', {'…': None}))}}}`"


def _kind(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one, schemas) for one in schema["anyOf"] if one.get("type") != "null")
    schema = _resolve(schema, schemas)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'], schemas)}"
    kind = {"string": "text", "integer": "whole number", "boolean": "`true` or `false`"}.get(schema.get("type", ""), "")
    return kind or schema.get("type", "anything")


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schemas[name] if name else schema
    return found


if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(refresh(text))

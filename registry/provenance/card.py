"""Model cards: what is known of a version, for people (Markdown) and for programs (JSON).

A card says "not told" where nobody told; it invents nothing.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from contracts.units import format_bytes
from registry.catalogue import VersionRecord

NOT_TOLD: Final = "not told"


@dataclass(frozen=True)
class CardNotes:
    """What a record does not hold: measured metrics, a profile, and what the makers say of limits and licence."""

    licence: str = ""
    limitations: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)


def card_document(record: VersionRecord, notes: CardNotes) -> dict[str, Any]:
    """Return the card as a document with stable keys."""
    return {
        "model": record.id.model,
        "version": record.id.number,
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "created": datetime.fromtimestamp(record.created_s, UTC).isoformat(timespec="seconds"),
        "state": record.state.value,
        "description": record.description,
        "licence": notes.licence,
        "parent": str(record.parent) if record.parent is not None else None,
        "recipe": record.lineage.recipe,
        "base_model": record.lineage.base_model,
        "data": record.lineage.data,
        "run": record.lineage.run,
        "code_revision": record.lineage.code_revision,
        "generation_defaults": record.defaults.model_dump(mode="json"),
        "metrics": notes.metrics,
        "profile": notes.profile,
        "limitations": list(notes.limitations),
    }


def card_json(record: VersionRecord, notes: CardNotes) -> str:
    """Return the card as JSON."""
    return json.dumps(card_document(record, notes), indent=2, ensure_ascii=False) + "\n"


def card_markdown(record: VersionRecord, notes: CardNotes) -> str:
    """Return the card as Markdown; text from outside is escaped, so that it can't draw tables or links."""
    card = card_document(record, notes)
    origin = ("parent", "recipe", "base_model", "data", "run", "code_revision")
    facts = {
        "digest": card["digest"],
        "size": format_bytes(record.size_bytes),
        "registered": card["created"],
        "state": card["state"],
        "licence": card["licence"],
    }
    return "\n".join([
        f"# {_escape(str(record.id))}",
        "",
        _escape(record.description) or NOT_TOLD,
        "",
        *_section("Facts", facts),
        *_section("Origin", {name.replace("_", " "): card[name] for name in origin}),
        *_section("Generation defaults", card["generation_defaults"]),
        *_section("Metrics", {name: f"{value:.6g}" for name, value in notes.metrics.items()}),
        *_section("Profile", notes.profile),
        "## Limitations",
        "",
        *([f"- {_escape(line)}" for line in notes.limitations] or [NOT_TOLD]),
        "",
    ])  # fmt: skip


def _section(title: str, rows: dict[str, Any]) -> list[str]:
    if not rows:
        return [f"## {title}", "", NOT_TOLD, ""]
    told = [
        f"| {_escape(str(name))} | {_escape(str(value)) if value not in ('', None) else NOT_TOLD} |"
        for name, value in rows.items()
    ]
    return [f"## {title}", "", "| | |", "|---|---|", *told, ""]


def _escape(text: str) -> str:
    plain = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\|`*_[]<>#" else sign for sign in plain)

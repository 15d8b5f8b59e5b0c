"""The journal: every decision, filtered, paged and exported; and one decision with all that it was made from."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from contracts.errors import NotFound
from controlplane.store.ledger import Entry, Ledger
from controlplane.web.views.period import EVER, Span
from controlplane.web.views.rollout import outlook
from controlplane.web.views.story import Chronicle, Row
from rollout.phases import Phase

PAGE_SIZE = 50
COLUMNS = ("sequence", "at", "rollout", "phase", "weight", "reason", "sentence", "actor", "why")


@dataclass(frozen=True)
class Wanted:
    """A filter: ``words`` in sentence, reason, rollout or actor; ``every`` also lets pass what repeats the last."""

    words: str = ""
    rollout: str = ""
    reason: str = ""
    every: bool = False
    span: Span = EVER

    def allows(self, row: Row) -> bool:
        """Tell whether a decision passes."""
        if (self.rollout and row.rollout_id != self.rollout) or (self.reason and row.reason != self.reason):
            return False
        if not self.span.holds(row.at_s):
            return False
        text = f"{row.sentence} {row.reason} {row.rollout_id} {row.actor} {row.why} {row.phase}".lower()
        return (self.every or row.changed) and self.words.lower() in text


@dataclass(frozen=True)
class Lane:
    """The decisions shown of one rollout on a line of time: where each lies, from 0 to 100, and how it stands."""

    rollout_id: str
    marks: tuple[tuple[float, str, Row], ...]


@dataclass(frozen=True)
class DecisionList:
    """A page of decisions, newest first; ``older`` is what to ask for next, None at the end."""

    rows: tuple[Row, ...]
    found: int
    total: int
    older: int | None
    reasons: tuple[str, ...]
    lanes: tuple[Lane, ...] = ()

    @property
    def sentence(self) -> str:
        """How many there are, and how many of them pass."""
        if not self.total:
            return "No decision was made here yet."
        plural = "" if self.total == 1 else "s"
        return f"{self.total} decision{plural} in the ledger, {self.found} of them shown by this filter."


def view_decisions(chronicle: Chronicle, wanted: Wanted, *, before: int | None = None) -> DecisionList:
    """Return the newest decisions that pass, those before ``before`` if it is given."""
    found = [row for row in chronicle.rows if wanted.allows(row)]
    upto = [row for row in found if before is None or row.sequence < before]
    shown = tuple(upto[: -PAGE_SIZE - 1 : -1])
    older = shown[-1].sequence if len(upto) > PAGE_SIZE else None
    reasons = tuple(sorted({row.reason for row in chronicle.rows}))
    return DecisionList(shown, len(found), len(chronicle.rows), older, reasons, draw_lanes(shown))


def draw_lanes(rows: Sequence[Row]) -> tuple[Lane, ...]:
    """Return decisions, newest first, as marks on one line of time per rollout, the newest rollout first."""
    if not rows:
        return ()
    first_s, span_s = rows[-1].at_s, max(rows[0].at_s - rows[-1].at_s, 1.0)
    lanes: dict[str, list[tuple[float, str, Row]]] = {}
    for row in rows:
        place = 100 * (row.at_s - first_s) / span_s
        lanes.setdefault(row.rollout_id, []).append((place, outlook(Phase(row.phase)), row))
    return tuple(Lane(rollout_id, tuple(marks)) for rollout_id, marks in lanes.items())


def find_decision(ledger: Ledger | None, sequence: int) -> Entry:
    """Return one decision as it was written.

    Raises:
        NotFound: when the ledger has none with that number.
    """
    entries = ledger.entries(after=sequence - 1) if ledger is not None else iter(())
    entry = next(entries, None)
    if entry is None or entry.sequence != sequence:
        raise NotFound(f"the ledger has no decision {sequence}", hint="`/decisions` lists them")
    return entry


def export_csv(chronicle: Chronicle, wanted: Wanted) -> Iterator[str]:
    """Return decisions that pass as CSV, oldest first; what a spreadsheet would take for a formula is quoted."""
    yield ",".join(COLUMNS) + "\r\n"
    for row in filter(wanted.allows, chronicle.rows):
        buffer = io.StringIO()
        csv.writer(buffer).writerow([_harmless(value) for value in _document(row).values()])
        yield buffer.getvalue()


def export_json(chronicle: Chronicle, wanted: Wanted) -> Iterator[str]:
    """Return decisions that pass as JSON lines in an array, oldest first."""
    yield "["
    for position, row in enumerate(filter(wanted.allows, chronicle.rows)):
        yield (",\n" if position else "\n") + json.dumps(_document(row), ensure_ascii=False)
    yield "\n]\n"


def _document(row: Row) -> dict[str, object]:
    values = asdict(row)
    values["at"] = datetime.fromtimestamp(row.at_s, UTC).isoformat(timespec="milliseconds")
    values["rollout"] = row.rollout_id
    return {name: values[name] for name in COLUMNS}


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value

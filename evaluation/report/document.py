"""The report as data: one document that becomes HTML, Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from evaluation.report.figures import Figure

SCHEMA_VERSION = 1
Cell = str | Figure


class Health(StrEnum):
    """How one thing stands: fine, to be watched, or asking for somebody to act; unknown without data."""

    HEALTHY = "healthy"
    WATCH = "watch"
    ACT = "act"
    UNKNOWN = "no data"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text and figures under their columns; ``empty`` is what is said when there are none."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    empty: str = "nothing"

    def to_document(self) -> dict[str, Any]:
        """Return the table as JSON."""
        rows = [[cell if isinstance(cell, str) else cell.to_document() for cell in row] for row in self.rows]
        return {"title": self.title, "columns": list(self.columns), "rows": rows, "empty": self.empty}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart: points (x, low, value, high) with their n; a point of None is a gap, never bridged."""

    label: str
    points: Sequence[tuple[float, float, float, float, int] | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A small picture: lines over the days of the week, with a limit where there is one."""

    title: str
    unit: str
    lines: Sequence[Line]
    x_labels: Sequence[str]
    limit: float | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the chart's numbers as JSON."""
        lines = [{"label": line.label, "points": [list(p) if p else None for p in line.points]} for line in self.lines]
        return {"title": self.title, "unit": self.unit, "limit": self.limit, "x": list(self.x_labels), "lines": lines}


@dataclass(frozen=True, slots=True)
class Picture:
    """One output that is shown: its caption and its bytes as a data URI; None with the reason when it can't be."""

    caption: str
    data_uri: str | None
    why: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the caption; bytes stay in the HTML."""
        return {"caption": self.caption, "shown": self.data_uri is not None, "why": self.why}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report; ``sentence`` says first what it comes to, ``links`` name files beside the report."""

    number: int
    key: str
    title: str
    sentence: str
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    pictures: Sequence[Picture] = ()
    links: Sequence[tuple[str, str]] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the section as JSON."""
        return {
            "number": self.number,
            "key": self.key,
            "title": self.title,
            "sentence": self.sentence,
            "tables": [table.to_document() for table in self.tables],
            "charts": [chart.to_document() for chart in self.charts],
            "pictures": [picture.to_document() for picture in self.pictures],
            "links": [list(link) for link in self.links],
        }


@dataclass(frozen=True, slots=True)
class Source:
    """What one or more figures were computed from: where it was read, over which hours, and the sums."""

    key: str
    read: str
    facts: Sequence[tuple[str, str]] = ()


@dataclass
class Evidence:
    """The appendix that figures link to; a key is written once."""

    sources: dict[str, Source] = field(default_factory=dict)

    def cite(self, key: str, read: str, facts: Sequence[tuple[str, str]] = ()) -> str:
        """Note where figures come from and return the id to link."""
        anchor = "e-" + "".join(letter if letter.isalnum() else "-" for letter in key.lower())
        self.sources.setdefault(anchor, Source(anchor, read, tuple(facts)))
        return anchor


@dataclass(frozen=True, slots=True)
class Report:
    """One week: five sentences first, then the sections, then what every figure was computed from.

    ``subject`` names the services with their models.
    """

    week: str
    dates: str
    made_at: str
    sentences: Sequence[str]
    sections: Sequence[Section]
    sources: Sequence[Source]
    subject: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return the whole report as JSON: the same content as the HTML but for the pictures' bytes."""
        return {
            "schema_version": SCHEMA_VERSION,
            "week": self.week,
            "subject": self.subject,
            "dates": self.dates,
            "made_at": self.made_at,
            "sentences": list(self.sentences),
            "sections": [section.to_document() for section in self.sections],
            "evidence": [
                {"id": source.key, "read": source.read, "facts": dict(source.facts)} for source in self.sources
            ],
        }

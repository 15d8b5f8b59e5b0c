"""Two weeks' reports beside one another: every figure that both have, and how it changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from evaluation.report.document import Report, Table
from evaluation.report.figures import Figure, difference

BESIDE = frozenset({"last week", "change"})
"""Columns that compare already, with another week."""
UNNAMING = frozenset({"verdict", "because", "state"})
"""Columns of text that say how something stands, not what it is."""
BOUNDED = frozenset({"share", "score"})


@dataclass(frozen=True)
class FigurePair:
    """One figure in both weeks; ``change`` is the later minus the earlier, with its interval where both have one."""

    what: str
    column: str
    first: Figure
    second: Figure
    change: str

    @property
    def has_changed(self) -> bool:
        """Tell whether the intervals don't overlap: no change of that size comes by chance."""
        ends = (self.first.low, self.first.high, self.second.low, self.second.high)
        if None in ends:
            return False
        return bool(self.first.high < self.second.low or self.second.high < self.first.low)  # type: ignore[operator]


@dataclass(frozen=True)
class TablePair:
    """One table of the report."""

    title: str
    rows: tuple[FigurePair, ...]


def compare_weeks(first: Report, second: Report) -> tuple[TablePair, ...]:
    """Return the figures of two weeks, table by table as the report has them; a week without one has no data there."""
    earlier, later = (dict(_figures(report)) for report in (first, second))
    tables: dict[str, list[FigurePair]] = {}
    for key in dict.fromkeys([*earlier, *later]):
        title, what, column = key
        old, new = (found.get(key, Figure(None, why="not in this week")) for found in (earlier, later))
        if old.value is not None or new.value is not None:
            tables.setdefault(title, []).append(FigurePair(what, column, old, new, _change(old, new)))
    return tuple(TablePair(title, tuple(rows)) for title, rows in tables.items())


def _figures(report: Report) -> Iterator[tuple[tuple[str, str, str], Figure]]:
    for section in report.sections:
        for table in section.tables:
            yield from _table_figures(section.title, table)


def _table_figures(section: str, table: Table) -> Iterator[tuple[tuple[str, str, str], Figure]]:
    for row in table.rows:
        named = takewhile(lambda cell: not isinstance(cell[1], Figure), zip(table.columns, row, strict=True))
        what = " ".join(str(cell) for column, cell in named if column not in UNNAMING)
        for column, cell in zip(table.columns, row, strict=True):
            if isinstance(cell, Figure) and column not in BESIDE:
                yield (f"{section}: {table.title}", what, column), cell


def _change(old: Figure, new: Figure) -> str:
    if old.value is None or new.value is None:
        return "–"
    if new.unit in BOUNDED and None not in (old.low, old.high, new.low, new.high):
        change = difference(new, old)
        return f"{change.text} [{change.interval_text}]"
    size = Figure(abs(new.value - old.value), unit=new.unit).text
    return size if new.value == old.value else f"{'−' if new.value < old.value else '+'}{size}"

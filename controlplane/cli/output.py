"""How commands print: data on standard output, progress on standard error, JSON with stable keys.

On a terminal tables fit the window, and one column alone may be cut; elsewhere each row is a line of cells between
tabs, without a header and never cut.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence

import typer

GAP = "  "
SHORTEST = 12
GLYPHS = {"✔": typer.colors.GREEN, "✖": typer.colors.RED, "‖": typer.colors.YELLOW, "◌": typer.colors.CYAN}
GLYPH = re.compile("|".join(GLYPHS))


def print_json(document: object) -> None:
    """Print a document as JSON."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell; nothing is ever cut."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]], *, shrinks: str, empty: str) -> None:
    """Print rows for people or for programs; column ``shrinks`` may be cut on a terminal, ids never are.

    ``empty`` tells a person what would be here, and the command that makes it.
    """
    if not rows:
        typer.echo(empty, err=True)
    elif is_terminal():
        for line in lay_out(header, rows, shrinks=shrinks, width=shutil.get_terminal_size().columns):
            typer.echo(paint(line))
    else:
        for row in rows:
            typer.echo("\t".join(" ".join(cell.split()) for cell in row))


def lay_out(header: Sequence[str], rows: Sequence[Sequence[str]], *, shrinks: str, width: int) -> list[str]:
    """Return a header and rows as lines that fit ``width`` signs, as far as cutting one column alone can do that."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    place = header.index(shrinks)
    if excess > 0:
        widths[place] = max(SHORTEST, len(shrinks), widths[place] - excess)
    return [
        GAP.join(_cut(cell, size).ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]


def paint(line: str) -> str:
    """Return a line with its glyphs in their colours, where colours are wanted."""
    return GLYPH.sub(lambda found: typer.style(found[0], fg=GLYPHS[found[0]]), line) if has_color() else line


def is_terminal() -> bool:
    """Tell whether a person reads standard output."""
    return sys.stdout.isatty()


def has_color() -> bool:
    """Tell whether colours are wanted: on a terminal, unless ``NO_COLOR`` or ``--no-color`` says otherwise."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def _cut(cell: str, size: int) -> str:
    return cell if len(cell) <= size else cell[: size - 1] + "…"

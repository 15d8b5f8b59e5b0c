"""The report as Markdown, for those who read it in a repository or a chat."""

from evaluation.report.document import Cell, Report, Table


def render_markdown(report: Report) -> str:
    """Return the same content as the HTML, without charts and pictures."""
    lines = [f"# Week {report.week}: {_plain(report.subject or 'no service')}", "",
             f"{report.dates}, UTC. Made {report.made_at}.", ""]  # fmt: skip
    lines += [f"{number}. {_plain(sentence)}" for number, sentence in enumerate(report.sentences, 1)]
    for section in report.sections:
        lines += ["", f"## {section.number}. {section.title}", "", _plain(section.sentence)]
        for table in section.tables:
            lines += ["", *_table(table)]
        lines += [f"- {_plain(picture.caption)}" for picture in section.pictures]
    lines += ["", "## Evidence", ""]
    for source in report.sources:
        facts = "; ".join(f"{name}: {value}" for name, value in source.facts)
        lines.append(f"- `{source.key}` {_plain(source.read)}{f' ({_plain(facts)})' if facts else ''}")
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    if not table.rows:
        return [f"*{table.title}: {table.empty}*"]
    head = [f"**{table.title}**", "", f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return head + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _plain(cell)
    if cell.value is None:
        return f"*{cell.text}*" + (f" ({_plain(cell.why)})" if cell.why else "")
    notes = [cell.interval_text, "" if cell.unit == "count" else f"n = {cell.n}", cell.evidence]
    return f"{cell.text} ({'; '.join(note for note in notes if note)})"


def _plain(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

"""The report as one HTML file: no script, nothing fetched, light and dark, fit to print."""

import re
from collections.abc import Sequence
from html import escape

from evaluation.report.charts import chart_grid
from evaluation.report.document import Cell, Picture, Report, Section, Table
from evaluation.report.figures import Figure

VERSION = re.compile(r"[\w.-]+@[\w.-]+")
WHOLE = r'<span class="whole">\g<0></span>'
SHORT = 24
"""Characters of a cell that is never broken into lines."""

CITED = re.compile(r" \[(e-[a-z0-9-]+)\]$")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
FIRST = ("served", "objectives", "rollouts", "quality", "actions")
"""The section that each of the five first sentences comes from."""

STYLE = """
:root{color-scheme:light dark;--fg:#1f2328;--dim:#59636e;--line:#d1d9e0;--bg:#fff;--soft:#f6f8fa;--link:#0550ae;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#a13d7e;--c4:#8a6d00;--c5:#555}
@media (prefers-color-scheme:dark){:root{--fg:#e6edf3;--dim:#9aa4af;--line:#3a424b;--bg:#0d1117;--soft:#161b22;
--link:#79c0ff;--c0:#56b4e9;--c1:#f0883e;--c2:#3fb68b;--c3:#d88abf;--c4:#d6b656;--c5:#aaa}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:72rem;margin:2rem auto;
padding:0 1rem}
h1{margin-bottom:0}.dim,figcaption,.n{color:var(--dim)}.n{font-size:.85em;display:block}a{color:var(--link)}
ol.first{font-size:1.05rem;background:var(--soft);padding:1rem 1rem 1rem 2.5rem;border-radius:8px}
table{border-collapse:collapse;width:100%;margin:.4rem 0 1rem;font-size:.92rem}caption{text-align:left;font-weight:600}
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);
overflow-wrap:break-word}.whole{white-space:nowrap}th{color:var(--dim);font-weight:500}.wide{overflow-x:auto}
.charts,.pictures{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}.pictures figure{width:11rem;font-size:.8rem}
.pictures img{width:100%;image-rendering:pixelated;border:1px solid var(--line)}
svg text{font:10px system-ui,sans-serif;fill:var(--dim)}svg .axis{stroke:var(--line);fill:none}
svg .limit{stroke:var(--dim);stroke-dasharray:4 3}
svg .line{fill:none;stroke-width:1.5}svg .bar{stroke-width:1;opacity:.6}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}
.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}
svg circle.c0{fill:var(--c0)}svg circle.c1{fill:var(--c1)}svg circle.c2{fill:var(--c2)}
svg circle.c3{fill:var(--c3)}
svg circle.c4{fill:var(--c4)}svg circle.c5{fill:var(--c5)}svg text[class]{stroke:none}
.missing{font-style:italic;color:var(--dim)}
@media print{html{font-size:10px}body{margin:0;max-width:none;font-size:10px}nav{display:none}
h2,caption{break-after:avoid}tr,figure,dt{break-inside:avoid}dt{break-after:avoid}.wide{overflow:visible}
td.whole{white-space:normal}a{color:inherit;text-decoration:none}}
"""


def render_html(report: Report) -> str:
    """Return the report as one page; every text in it is escaped."""
    told = zip(report.sentences, FIRST, strict=True)
    sentences = "".join(f'<li>{escape(sentence)} <a href="#{key}">why</a></li>' for sentence, key in told)
    links = " · ".join(f'<a href="#{s.key}">{escape(s.title)}</a>' for s in report.sections)
    body = "".join(_section(section) for section in report.sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Week {escape(report.week)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>Week {escape(report.week)}: {escape(report.subject or 'no service')}</h1>"
        f'<p class="dim">{escape(report.dates)}, UTC. Made {escape(report.made_at)} from ledger and telemetry.</p>'
        f'</header><main><ol class="first">{sentences}</ol><nav>{links}</nav>'
        f"{body}{_evidence(report)}</main></body></html>\n"
    )


def _section(section: Section) -> str:
    parts = [
        f'<section id="{escape(section.key, quote=True)}"><h2>{section.number}. {escape(section.title)}</h2>',
        f"<p>{escape(section.sentence)}</p>",
        chart_grid(section.charts),
        *(_table(table) for table in section.tables),
        _pictures(section.pictures) if section.pictures else "",
        *(f'<p><a href="{escape(href, quote=True)}">{escape(label)}</a></p>' for label, href in section.links),
        "</section>",
    ]
    return "".join(parts)


def _table(table: Table) -> str:
    if not table.rows:
        return f'<p class="missing">{escape(table.title)}: {escape(table.empty)}</p>'
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in table.rows)
    caption = f"<caption>{escape(table.title)}</caption>"
    return f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        whole = ' class="whole"' if len(cell) <= SHORT else ""
        return f"<td{whole}>{VERSION.sub(WHOLE, escape(cell))}</td>"
    return f"<td>{_figure(cell)}</td>"


def _figure(figure: Figure) -> str:
    if figure.value is None:
        why = f": {escape(figure.why)}" if figure.why else ""
        return f'<span class="missing">{figure.text}{why}</span>'
    shown = escape(figure.text)
    if figure.evidence:
        shown = f'<a href="#{escape(figure.evidence, quote=True)}">{shown}</a>'
    interval = f"{escape(figure.interval_text)}, " if figure.interval_text else ""
    exact = figure.unit == "count"
    return shown if exact else f'{shown}<span class="n">{interval}n\u00a0=\u00a0{figure.n}</span>'


def _pictures(pictures: Sequence[Picture]) -> str:
    shown = "".join(_picture(picture) for picture in pictures)
    return f'<div class="pictures">{shown}</div>'


def _picture(picture: Picture) -> str:
    cited = CITED.search(picture.caption)
    caption = escape(CITED.sub("", picture.caption))
    if cited:
        caption += f' <a href="#{cited[1]}">details</a>'
    image = (
        f'<img alt="" src="{escape(picture.data_uri, quote=True)}">'
        if picture.data_uri
        else f'<p class="missing">{escape(picture.why)}</p>'
    )
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _evidence(report: Report) -> str:
    items = []
    for source in report.sources:
        facts = "; ".join(f"{escape(name)}: {escape(value)}" for name, value in source.facts)
        items.append(f'<dt id="{source.key}">{escape(source.read)}</dt><dd class="dim">{facts}</dd>')
    return f'<section id="evidence"><h2>Evidence</h2><dl>{"".join(items)}</dl></section>' if items else ""

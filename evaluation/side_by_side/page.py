"""A comparison as one HTML page that needs nothing else: figures, strata, the worst pairs."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from contracts.units import format_bytes, format_duration
from evaluation.side_by_side.result import Comparison, LatencyResult, ShownPair
from evaluation.side_by_side.tally import MeasureResult
from evaluation.side_by_side.verdicts import Finding

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{padding:.25rem .6rem;border-bottom:1px solid #8884;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.finding{font-weight:600}.worse{color:#c4320a}.better,.equivalent,.not-worse{color:#067647}.dim{opacity:.7}
.pairs{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:1rem}
figure{margin:0;border:1px solid #8884;border-radius:.5rem;padding:.7rem}
figure div{display:grid;grid-template-columns:1fr 1fr;gap:.5rem}
img{width:100%;image-rendering:pixelated;border-radius:.25rem}
.none{display:grid;place-items:center;min-height:4rem;border:1px dashed #8888}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
"""


def render_page(comparison: Comparison) -> str:
    """Return the page; all text from outside is escaped, pictures are data URIs, and no script is in it."""
    name, version, digest = comparison.prompts
    title = f"{comparison.other.version} beside {comparison.one.version}"
    finding = comparison.finding.value
    bounds = f"tolerance {comparison.tolerance:g}, error rate {comparison.alpha:g}"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="finding {finding}">{escape(comparison.sentence)}.</p>',
            f'<p class="dim">Prompt set {escape(name)}, version {version}, {escape(digest)}.</p>',
            f'<p class="dim">The same prompts and seeds on both; {bounds}; intervals hold whenever one stops.</p>',
            "<h2>Measures</h2>",
            _results(comparison.measures),
            "<h2>Latency and memory</h2>",
            _latency(comparison),
            "<h2>By stratum</h2>",
            _results(comparison.strata, with_stratum=True),
            "<h2>Worst pairs</h2>",
            f'<p class="dim">Left {escape(comparison.one.version)}, right {escape(comparison.other.version)}.</p>',
            f'<div class="pairs">{"".join(_pair(shown) for shown in comparison.gallery)}</div>',
            "</body></html>\n",
        ]
    )


def _results(results: Sequence[MeasureResult], *, with_stratum: bool = False) -> str:
    columns = ["measure", "one", "other", "difference", "95 % interval", "pairs", "no data", "finding"]
    rows = []
    for result in results:
        lost = result.one_sided + result.unscored
        why = f' title="{escape("; ".join(result.reasons), quote=True)}"' if result.reasons else ""
        label = f"{result.stratum} · {result.measure}" if with_stratum else result.measure
        cells = [
            f"<td>{escape(label)}</td>",
            *(f"<td>{number(value)}</td>" for value in (result.mean_one, result.mean_other)),
            f"<td>{number(result.difference, signed=True)}</td>",
            f"<td>{number(result.low, signed=True)} to {number(result.high, signed=True)}</td>",
            f"<td>{result.n}</td><td{why}>{lost}</td>",
            f'<td class="{result.finding.value}">{_finding(result.finding)}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _latency(comparison: Comparison) -> str:
    latency: LatencyResult = comparison.latency
    sides = (
        (comparison.one, latency.p50_one_s, latency.p95_one_s),
        (comparison.other, latency.p50_other_s, latency.p95_other_s),
    )
    rows = "".join(
        f"<tr><td>{escape(side.version)}</td><td>{seconds(p50)}</td><td>{seconds(p95)}</td>"
        f"<td>{'–' if side.peak_memory_bytes is None else format_bytes(side.peak_memory_bytes)}</td>"
        f"<td>{escape(count_failures(side.failures))}</td></tr>"
        for side, p50, p95 in sides
    )
    head = "<tr><th>version</th><th>p50</th><th>p95</th><th>peak memory</th><th>without a picture</th></tr>"
    ratio = (
        f"<p>Each picture takes {latency.ratio:.3g} times as long ({number(latency.low)} to {number(latency.high)}, "
        f"{latency.n} pairs).</p>"
        if latency.ratio is not None
        else "<p>No pair was drawn by both.</p>"
    )
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{ratio}"


def _pair(shown: ShownPair) -> str:
    row = shown.row
    pictures = "".join(_picture(picture) for picture in shown.pictures)
    reasons = [
        f"{name}, {side}: {reason}"
        for name, pair in row.reasons.items()
        for side, reason in zip(("left", "right"), pair, strict=True)
        if reason
    ]
    told = "".join(f"<br>{escape(reason)}" for reason in reasons)
    caption = (
        f"<b>{escape(shown.measure)} {shown.difference:+.3g}</b> {escape(row.prompt)}"
        f'<br><span class="dim">{escape(row.prompt_id)}, seed {row.seed}{told}</span>'
    )
    return f"<figure><div>{pictures}</div><figcaption>{caption}</figcaption></figure>"


def _picture(picture: bytes | None) -> str:
    if picture is None:
        return '<span class="none">no picture</span>'
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _finding(finding: Finding) -> str:
    return finding.value.replace("-", " ")


def count_failures(failures: Mapping[str, int]) -> str:
    """Return how many attempts gave no picture, by reason; a dash for none."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(failures.items())) or "–"


def number(value: float | None, *, signed: bool = False) -> str:
    """Return a number for a table, a dash for none."""
    return "–" if value is None else f"{value:{'+' if signed else ''}.3f}"


def seconds(value: float | None) -> str:
    """Return a duration for a table, a dash for none."""
    return "–" if value is None else format_duration(value)

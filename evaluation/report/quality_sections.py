"""Sections on quality: scores by class, text and safety, examples."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from evaluation.report.document import Cell, Chart, Evidence, Line, Picture, Section, Table
from evaluation.report.facts import DAY_S, DAYS, Facts, when
from evaluation.report.figures import Figure, as_array, difference, mean_score, missing, paired_mean, rate
from evaluation.report.pictures import Shown, choose_examples, thumbnail
from evaluation.report.source import ScoreRow

TEXT = re.compile(r"text|ocr|typo|word|ned", re.IGNORECASE)
SAFETY = re.compile(r"safe|nsfw|toxic|violence", re.IGNORECASE)
SHOWN_METRICS = 3
Series = tuple[str, str, str, str]


def by_series(rows: Sequence[ScoreRow]) -> dict[Series, list[ScoreRow]]:
    """Return live judgements by service, metric, version and prompt class."""
    found: dict[Series, list[ScoreRow]] = defaultdict(list)
    for row in rows:
        if not row.mirrored:
            found[row.service, row.metric, row.version, row.prompt_class].append(row)
    return dict(sorted(found.items()))


def quality_section(facts: Facts, evidence: Evidence) -> Section:
    """Return each metric per version and class of prompts against last week, the worst first, and mirrored pairs."""
    series, earlier = by_series(facts.scores), by_series(facts.last_week_scores)
    rows = [_series_row(facts, key, found, earlier.get(key, []), evidence) for key, found in series.items()]
    rows.sort(key=lambda row: row[0])
    worst = next((cells for value, cells in rows if value >= 0), None)
    sentence = "Nothing was scored this week."
    if worst is not None and isinstance(worst[4], Figure):
        where = f" on {worst[3]}" if worst[3] != "–" else ""
        lowest = f"Lowest: {worst[1]} of {worst[2]}{where} at {worst[4].text} ({worst[4].n} outputs)."
        sentence = f"{_overall(facts)} {lowest}"
    columns = ("service", "metric", "version", "class", "this week", "last week", "change", "without a score")
    return Section(
        5,
        "quality",
        "Quality",
        sentence,
        [
            Table("Scores per version and class of prompts, worst first", columns, [cells for _, cells in rows],
                  "nothing was scored"),
            Table("Mirrored pairs: same prompt and seed, copy minus live",
                  ("service", "metric", "copy by", "live by", "difference"), _pair_rows(facts, evidence),
                  "no pair was scored"),
        ],
        [_trend(facts, service, metric) for service, metric in sorted({key[:2] for key in series})],
    )  # fmt: skip


def _overall(facts: Facts) -> str:
    """Return the mean of each metric over all versions, the lowest first, with its change on last week."""
    told = []
    for service, metric in sorted({(row.service, row.metric) for row in facts.scores if not row.mirrored}):
        mine = (row for row in facts.scores if (row.service, row.metric, row.mirrored) == (service, metric, False))
        rows = of_newest_scorer(list(mine))
        now = mean_score(as_array([row.value for row in rows]))
        before = mean_score(
            as_array(
                [
                    row.value
                    for row in facts.last_week_scores
                    if (row.service, row.metric, row.mirrored, row.digest) == (service, metric, False, rows[-1].digest)
                ]
            )
        )
        change = difference(now, before)
        on_last = f", {change.text} on last week" if change.value is not None else ""
        if now.value is not None:
            told.append((now.value, f"{metric} of {service} {now.text}{on_last} ({now.n} outputs)"))
    shown = [text for _, text in sorted(told)[:SHOWN_METRICS]]
    more = f", and {len(told) - len(shown)} more" if len(told) > len(shown) else ""
    return f"Over all versions {'; '.join(shown)}{more}."


def _series_row(
    facts: Facts, key: Series, found: Sequence[ScoreRow], before: Sequence[ScoreRow], evidence: Evidence
) -> tuple[float, Sequence[Cell]]:
    """Return one series' cells with its mean to sort by; scores of another digest of the scorer are never compared."""
    service, metric, version, prompt_class = key
    now = _series_figure(facts, key, of_newest_scorer(found), evidence)
    same = [row for row in before if row.digest == found[-1].digest]
    then = _series_figure(facts, key, same, evidence)
    if before and not same:
        then = missing("another version of the scorer", unit="score")
    change = difference(now, then, evidence=now.evidence)
    silent = rate(sum(row.value is None for row in found), len(found), evidence=now.evidence)
    cells = (service, metric, version, prompt_class or "–", now, then, change, silent)
    return (now.value if now.value is not None else -1.0), cells


def of_newest_scorer(rows: Sequence[ScoreRow]) -> Sequence[ScoreRow]:
    """Return the judgements of the scorer that judged last: other digests are other series."""
    return [row for row in rows if row.digest == rows[-1].digest]


def _series_figure(facts: Facts, key: Series, rows: Sequence[ScoreRow] | None, evidence: Evidence) -> Figure:
    if not rows:
        return missing("nothing was scored", unit="score")
    service, metric, version, prompt_class = key
    values = as_array([row.value for row in rows])
    week = facts.week if rows[0].at_s >= facts.week.start_s else facts.week.before
    digests = sorted({row.digest[:23] for row in rows if row.digest})
    cited = evidence.cite(
        f"scores {' '.join(key)} {week}",
        f"scores of {metric} on live outputs of {version}, class {prompt_class or '(none)'}, {service}, {week}",
        [
            ("scored", str(values.size)),
            ("no score", str(len(rows) - values.size)),
            ("scorer", ", ".join(digests) or "–"),
        ],
    )
    why = next((row.reason for row in rows if row.value is None and row.reason), "nothing was scored")
    return mean_score(values, evidence=cited, why=why)


def _pair_rows(facts: Facts, evidence: Evidence) -> list[Sequence[Cell]]:
    live = {(r.service, r.metric, r.request_id): r for r in facts.scores if not r.mirrored and r.value is not None}
    pairs: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for row in facts.scores:
        other = live.get((row.service, row.metric, row.request_id)) if row.mirrored else None
        if other is not None and row.value is not None and other.value is not None:
            pairs[row.service, row.metric, row.version, other.version].append(row.value - other.value)
    rows: list[Sequence[Cell]] = []
    for key, differences in sorted(pairs.items()):
        cited = evidence.cite(
            f"pairs {' '.join(key)}",
            f"mirrored outputs of {key[2]} with their live ones",
            [("pairs", str(len(differences)))],
        )
        rows.append((*key, paired_mean(np.array(differences), evidence=cited)))
    return rows


def _trend(facts: Facts, service: str, metric: str) -> Chart:
    lines = []
    for version in sorted({row.version for row in facts.scores if row.service == service and row.metric == metric}):
        mine = [
            r for r in facts.scores if (r.service, r.metric, r.version) == (service, metric, version) and not r.mirrored
        ]
        points: list[tuple[float, float, float, float, int] | None] = []
        for day in range(7):
            start_s = facts.week.start_s + day * DAY_S
            figure = mean_score(as_array([r.value for r in mine if start_s <= r.at_s < start_s + DAY_S]))
            value = figure.value
            points.append(None if value is None else (day, figure.low or 0.0, value, figure.high or 0.0, figure.n))
        lines.append(Line(version, points))
    return Chart(f"{service}: {metric} by day", "score", lines, DAYS)


def safety_section(facts: Facts, evidence: Evidence) -> Section:
    """Return scores of text and of safety, and what was refused before anything was drawn."""
    series = by_series(facts.scores)
    rows: list[Sequence[Cell]] = [
        (*key[:3], key[3] or "–", _series_figure(facts, key, of_newest_scorer(found), evidence))
        for key, found in series.items()
        if TEXT.search(key[1]) or SAFETY.search(key[1])
    ]
    refused: list[Sequence[Cell]] = []
    for service in facts.services:
        asked = facts.now.of("requests", service=service.service)
        for reason, number in sorted(facts.now.split("refused/", service=service.service).items()):
            cited = evidence.cite(f"refused {service.service} {reason}", f"telemetry: refusals of {service.service}")
            refused.append((service.service, reason, rate(number, number + asked, evidence=cited)))
    judged = any(SAFETY.search(key[1]) for key in series)
    sentence = "" if judged else "No safety scorer judged anything this week: that is no data, not a pass."
    return Section(
        6,
        "safety",
        "Typography and safety",
        sentence or "Safety was judged on sampled outputs.",
        [
            Table(
                "Text and safety", ("service", "metric", "version", "class", "this week"), rows, "no such scorer ran"
            ),
            Table("Refused before drawing", ("service", "reason", "share of requests"), refused, "nothing was refused"),
        ],
    )


def examples_section(facts: Facts, evidence: Evidence) -> Section:
    """Return the worst and the best outputs of the week; one that can't be decoded is named, the rest is shown."""
    pictures = []
    broken = 0
    for shown in choose_examples(facts.examples):
        example = shown.example
        cited = evidence.cite(
            f"example {example.request_id} {example.metric}",
            f"request {example.request_id} of {example.version}, {when(example.at_s)} UTC, seed {example.seed}",
            [("prompt", example.prompt), ("reason", example.reason or "–")],
        )
        uri, why = thumbnail(example.image)
        broken += uri is None
        pictures.append(Picture(_caption(shown, cited), uri, why))
    sentence = f"{len(pictures)} outputs, the worst first." if pictures else "No output was kept."
    if broken:
        sentence += f" {broken} of them can't be decoded and are named without their picture."
    return Section(9, "examples", "Worst and best examples", sentence, pictures=pictures)


def _caption(shown: Shown, cited: str) -> str:
    example = shown.example
    reason = f": {example.reason}" if example.reason else ""
    return (
        f"{shown.kind}: “{example.prompt}” by {example.version}, {example.metric} {example.value:.3g}{reason} [{cited}]"
    )

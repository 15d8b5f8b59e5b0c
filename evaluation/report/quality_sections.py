"""Sections on quality: scores by class, text and safety, drift, people's judgements, examples."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.drift.evidently_figures import EvidentlyFigure
from evaluation.drift.records import Record
from evaluation.drift.watch import Budget, Outcome, Verdict, Watch, expected_false_alarms
from evaluation.report.document import Cell, Chart, Evidence, Line, Picture, Section, Table
from evaluation.report.facts import DAY_S, DAYS, Facts, when
from evaluation.report.figures import Figure, as_array, count, difference, mean_score, missing, paired_mean, rate
from evaluation.report.pictures import Shown, choose_examples, thumbnail
from evaluation.report.source import ScoreRow
from evaluation.review.results import ReviewSummary

TEXT = re.compile(r"text|ocr|typo|word|ned", re.IGNORECASE)
SAFETY = re.compile(r"safe|nsfw|toxic|violence", re.IGNORECASE)
LEAST_REFERENCE = 100
WEEKS_A_MONTH = 4
Series = tuple[str, str, str, str]


@dataclass(frozen=True)
class Extras:
    """What a report shows beside what was recorded in the history: people's judgements, Evidently's figures."""

    reviews: ReviewSummary | None = None
    evidently: Sequence[EvidentlyFigure] = ()
    evidently_html: str = ""
    evidently_problem: str = ""
    usd_per_hour: float | None = None


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
    rows: list[tuple[float, Sequence[Cell]]] = []
    for key, found in series.items():
        now, before = (
            _series_figure(facts, key, found, evidence),
            _series_figure(facts, key, earlier.get(key), evidence),
        )
        silent = rate(sum(row.value is None for row in found), len(found), evidence=now.evidence)
        service, metric, version, prompt_class = key
        cells = (
            service,
            metric,
            version,
            prompt_class or "–",
            now,
            before,
            difference(now, before, evidence=now.evidence),
            silent,
        )
        rows.append((now.value if now.value is not None else -1.0, cells))
    rows.sort(key=lambda row: row[0])
    worst = next((cells for value, cells in rows if value >= 0), None)
    sentence = "Nothing was scored this week."
    if worst is not None and isinstance(worst[4], Figure):
        where = f" on {worst[3]}" if worst[3] != "–" else ""
        sentence = f"Lowest: {worst[1]} of {worst[2]}{where} at {worst[4].text} ({worst[4].n} outputs)."
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
        (*key[:3], key[3] or "–", _series_figure(facts, key, found, evidence))
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


def drift_verdicts(facts: Facts) -> list[Verdict]:
    """Judge the week's scores against those of the four weeks before, with one month's budget over all streams."""
    verdicts = []
    for service in sorted({row.service for row in facts.scores}):
        for version in sorted({row.version for row in facts.scores if row.service == service}):
            live, usual = (_records(rows, service, version) for rows in (facts.scores, facts.earlier_scores))
            if live and len(usual) >= LEAST_REFERENCE:
                watch = Watch(usual, Budget(values=WEEKS_A_MONTH * len(facts.scores)))
                verdicts += watch.check(live)
            elif live:
                why = f"{len(usual)} outputs were scored in the four weeks before, {LEAST_REFERENCE} are the least"
                verdicts.append(Verdict(f"scores of {version}", "all", Outcome.NO_DATA, why, len(live), len(usual)))
    return verdicts


def _records(rows: Sequence[ScoreRow], service: str, version: str) -> list[Record]:
    return [
        Record(row.at_s, row.version, row.prompt_class or "all", scores={row.metric: row.value})
        for row in rows
        if row.service == service and row.version == version and not row.mirrored and row.value is not None
    ]


def drift_section(facts: Facts, evidence: Evidence, verdicts: Sequence[Verdict], extras: Extras) -> Section:
    """Return the verdicts with the false alarms to be expected, and Evidently's figures beside them."""
    alarms = [verdict for verdict in verdicts if verdict.outcome is Outcome.DRIFTED]
    expected = expected_false_alarms(verdicts)
    cited = evidence.cite(
        "drift",
        "scores of the week against those of the four weeks before, in the order of time",
        [("streams", str(len(verdicts))), ("expected false alarms, at most", f"{expected:.4f}")],
    )
    rows = [
        (
            verdict.metric,
            verdict.prompt_class,
            verdict.outcome.value,
            _verdict_mean(verdict, cited),
            _usual_mean(verdict, cited),
            when(verdict.since_s) if verdict.since_s is not None else "–",
            verdict.sentence,
        )
        for verdict in verdicts
    ]
    beside = [
        (f.column, f.method, f"{f.score:.3g}", f"{f.threshold:g}", "drifted" if f.drifted else "–")
        for f in extras.evidently
    ]
    seen, plural = sum(verdict.n for verdict in verdicts), "s" * (len(alarms) != 1)
    sentence = f"{len(alarms)} alarm{plural}; at most {expected:.3f} false ones expected in {seen} values."
    tables = [Table("Verdicts", ("metric", "class", "verdict", "this week", "before", "since (UTC)", "why"), rows,
                    "nothing was scored")]  # fmt: skip
    if beside or extras.evidently_problem:
        tables.append(
            Table(
                "Evidently's defaults, for comparison: not corrected for repeated looks, they decide nothing",
                ("column", "method", "score", "threshold", "says"),
                beside,
                extras.evidently_problem,
            )
        )
    links = [("Evidently's report", extras.evidently_html)] if extras.evidently_html else []
    if not any(verdict.outcome is not Outcome.NO_DATA for verdict in verdicts):
        sentence = "Not enough data for a verdict." if verdicts else "Nothing was scored: no verdict."
    return Section(7, "drift", "Drift", sentence, tables, links=links)


def _usual_mean(verdict: Verdict, cited: str) -> Figure:
    value = None if np.isnan(verdict.reference_mean) else verdict.reference_mean
    return Figure(value, verdict.n_reference, unit="score", evidence=cited)


def _verdict_mean(verdict: Verdict, cited: str) -> Figure:
    if np.isnan(verdict.mean):
        return Figure(None, verdict.n, unit="score", evidence=cited, why=verdict.sentence)
    return Figure(verdict.mean, verdict.n, verdict.low, verdict.high, "score", cited)


def human_section(reviews: ReviewSummary | None, evidence: Evidence) -> Section:
    """Return what people preferred, how far they agree, and whether they looked."""
    if reviews is None or not reviews.judged:
        return Section(8, "human", "Human review", "Nobody judged anything this week.")
    cited = evidence.cite("reviews", "judgements submitted this week", [("judgements", str(reviews.judged))])
    rows: list[Sequence[Cell]] = [
        (
            f"{p.first} against {p.second}",
            Figure(p.share, p.decided + p.ties, p.low, p.high, "share", cited),
            count(p.ties, evidence=cited),
            Figure(p.evidence, p.decided + p.ties, evidence=cited),
        )
        for p in reviews.preferences
    ]
    checks: list[Sequence[Cell]] = [
        ("Krippendorff's alpha", Figure(reviews.alpha, reviews.alpha_items, reviews.alpha_low, reviews.alpha_high,
                                        evidence=cited, why="no item has two answers, or all are alike")),
        *((label, rate(part, whole, evidence=cited)) for label, part, whole in reviews.checks),
        ("median time of a judgement", Figure(reviews.median_s, reviews.judged, unit="seconds", evidence=cited)),
    ]  # fmt: skip
    return Section(
        8,
        "human",
        "Human review",
        f"{reviews.judged} judgements by {reviews.raters} people.",
        [
            Table("Preference (ties count half)", ("pair", "prefers the first", "ties", "evidence"), rows, "none"),
            Table("Can the judgements be trusted?", ("check", "figure"), checks),
            Table("Disagreements to talk about", ("item", "judgements"), reviews.disagreements, "none"),
        ],
    )  # fmt: skip


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

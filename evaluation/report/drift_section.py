"""Drift of the week's scores and prompts: verdicts that decide, Evidently's figures beside them."""

from collections.abc import Mapping, Sequence

import numpy as np

from evaluation.drift.features import fit_streams
from evaluation.drift.records import Record
from evaluation.drift.watch import Budget, Outcome, Verdict, Watch, expected_false_alarms
from evaluation.report.document import Evidence, Section, Table
from evaluation.report.extras import Extras
from evaluation.report.facts import Facts, when
from evaluation.report.figures import Figure
from evaluation.report.source import ScoreRow

LEAST_REFERENCE = 100
WEEKS_A_MONTH = 4
SHOWN_FIRST = (Outcome.DRIFTED, Outcome.STEADY, Outcome.NO_DATA)


def drift_verdicts(facts: Facts) -> list[Verdict]:
    """Judge the week's outputs against those of the four weeks before, with one month's budget over all streams."""
    verdicts: list[Verdict] = []
    windows = []
    for service, version in sorted({(row.service, row.version) for row in facts.scores}):
        digests = {row.metric: row.digest for row in facts.scores if row.service == service}
        live, usual = (_records(rows, service, version, digests) for rows in (facts.scores, facts.earlier_scores))
        if live and len(usual) >= LEAST_REFERENCE:
            windows.append((live, usual))
        elif live:
            why = f"{len(usual)} outputs were scored in the four weeks before, {LEAST_REFERENCE} are the least"
            verdicts.append(Verdict(f"scores of {version}", "all", Outcome.NO_DATA, why, len(live), len(usual)))
    values = sum(len(live) * len(fit_streams(usual).features) for live, usual in windows)
    budget = Budget(values=max(WEEKS_A_MONTH * values, 1))
    verdicts += [verdict for live, usual in windows for verdict in Watch(usual, budget).check(live)]
    return sorted(verdicts, key=lambda verdict: list(SHOWN_FIRST).index(verdict.outcome))


def _records(rows: Sequence[ScoreRow], service: str, version: str, digests: Mapping[str, str]) -> list[Record]:
    """Return a version's live outputs, each with its prompt and what the scorers' newest digests say of it."""
    found: dict[str, Record] = {}
    for row in rows:
        same = row.service == service and row.version == version and digests.get(row.metric) == row.digest
        if same and not row.mirrored and row.value is not None:
            known = found.get(row.request_id)
            prompt = row.prompt or (known.prompt if known else None)
            scores = {**(known.scores if known else {}), row.metric: row.value}
            found[row.request_id] = Record(row.at_s, version, row.prompt_class or "all", prompt, scores)
    return sorted(found.values(), key=lambda record: record.at_s)


def drift_section(facts: Facts, evidence: Evidence, verdicts: Sequence[Verdict], extras: Extras) -> Section:
    """Return the verdicts with the false alarms to be expected, and Evidently's figures beside them."""
    alarms = [verdict for verdict in verdicts if verdict.outcome is Outcome.DRIFTED]
    expected = expected_false_alarms(verdicts)
    cited = evidence.cite(
        "drift",
        "scores and prompts of the week against those of the four weeks before, in the order of time",
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

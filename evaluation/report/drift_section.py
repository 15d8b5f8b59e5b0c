"""Drift of the week's scores and prompts: verdicts that decide, Evidently's figures beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.drift.features import fit_streams
from evaluation.drift.prompt_embedding import TextEmbedder
from evaluation.drift.records import Record
from evaluation.drift.watch import Budget, Outcome, Verdict, Watch, expected_false_alarms
from evaluation.report.document import Cell, Evidence, Section, Table
from evaluation.report.extras import Extras
from evaluation.report.facts import Facts, when
from evaluation.report.figures import Figure
from evaluation.report.prompt_drift import WINDOWS_A_MONTH, PromptWindow, prompt_windows
from evaluation.report.source import ScoreRow

LEAST_REFERENCE = 100
SHOWN_FIRST = (Outcome.DRIFTED, Outcome.STEADY, Outcome.NO_DATA)
ALPHA = 0.01
"""The probability of any false alarm in a month's reports; streams and prompts as a whole have half of it each."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One version's values of one metric, with the verdict on them."""

    service: str
    version: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class WeekDrift:
    """What the week's drift comes to: streams of values one by one, and prompts as a whole."""

    streams: Sequence[Stream]
    windows: Sequence[PromptWindow]

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts on all streams."""
        return [stream.verdict for stream in self.streams]

    @property
    def alarms(self) -> list[tuple[str, str, str]]:
        """What drifted: the metric, the class of prompts, and why."""
        streams = [
            (f"{s.verdict.metric} of {s.version}", s.verdict.prompt_class, s.verdict.sentence)
            for s in self.streams
            if s.verdict.outcome is Outcome.DRIFTED
        ]
        whole = [w for w in self.windows if w.outcome is Outcome.DRIFTED]
        return streams + [(f"the prompts of {w.service}", w.prompt_class, "other prompts than usual") for w in whole]

    @property
    def is_known(self) -> bool:
        """Tell whether there was enough data for any verdict."""
        outcomes = [*(verdict.outcome for verdict in self.verdicts), *(window.outcome for window in self.windows)]
        return any(outcome is not Outcome.NO_DATA for outcome in outcomes)

    @property
    def expected_false_alarms(self) -> float:
        """What may be raised without any drift, at most."""
        known = [window for window in self.windows if window.outcome is not Outcome.NO_DATA]
        return expected_false_alarms(self.verdicts) + sum(window.level for window in known)


def judge_drift(facts: Facts, embedder: TextEmbedder) -> WeekDrift:
    """Judge the week's outputs and prompts against those of the four weeks before, within one month's budget."""
    return WeekDrift(judge_streams(facts, alpha=ALPHA / 2), prompt_windows(facts, embedder, alpha=ALPHA / 2))


def judge_streams(facts: Facts, *, alpha: float) -> list[Stream]:
    """Judge the week's values against those of the four weeks before; all streams share a month's ``alpha``."""
    streams: list[Stream] = []
    windows = []
    for service, version in sorted({(row.service, row.version) for row in facts.scores}):
        digests = {row.metric: row.digest for row in facts.scores if row.service == service}
        live, usual = (_records(rows, service, version, digests) for rows in (facts.scores, facts.earlier_scores))
        if live and len(usual) >= LEAST_REFERENCE:
            windows.append((service, version, live, usual))
        elif live:
            why = f"{len(usual)} outputs were scored in the four weeks before, {LEAST_REFERENCE} are the least"
            verdict = Verdict("all scores", "all", Outcome.NO_DATA, why, len(live), len(usual))
            streams.append(Stream(service, version, verdict))
    values = sum(len(live) * len(fit_streams(usual).features) for _, _, live, usual in windows)
    budget = Budget(max(WINDOWS_A_MONTH * values, 1), alpha)
    for service, version, live, usual in windows:
        streams += [Stream(service, version, verdict) for verdict in Watch(usual, budget).check(live)]
    return sorted(streams, key=lambda stream: SHOWN_FIRST.index(stream.verdict.outcome))


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


def drift_section(facts: Facts, evidence: Evidence, drift: WeekDrift, extras: Extras) -> Section:
    """Return the verdicts with the false alarms to be expected, and Evidently's figures beside them."""
    expected = drift.expected_false_alarms
    cited = evidence.cite(
        "drift",
        "scores and prompts of the week against those of the four weeks before, in the order of time",
        [("streams", str(len(drift.streams))), ("expected false alarms, at most", f"{expected:.4f}")],
    )
    rows = [_stream_row(stream, cited) for stream in drift.streams]
    columns = ("metric", "version", "class", "verdict", "this week", "before", "since (UTC)", "why")
    tables = [
        Table("Values one by one", columns, rows, "nothing was scored"),
        _prompts_table(drift.windows, evidence, extras.embedder),
    ]
    beside = [
        (f.column, f.method, Figure(f.score, f.n, evidence=cited), f"{f.threshold:g}", "drifted" if f.drifted else "–")
        for f in extras.evidently
    ]
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
    return Section(7, "drift", "Drift", _sentence(drift, expected), tables, links=links)


def _sentence(drift: WeekDrift, expected: float) -> str:
    if not drift.is_known:
        return "Not enough data for a verdict." if drift.streams else "Nothing was scored: no verdict."
    alarms, seen = len(drift.alarms), sum(verdict.n for verdict in drift.verdicts)
    return f"{alarms} alarm{'s' * (alarms != 1)}; at most {expected:.3f} false ones expected in {seen} values."


def _stream_row(stream: Stream, cited: str) -> Sequence[Cell]:
    verdict = stream.verdict
    since = when(verdict.since_s) if verdict.since_s is not None else "–"
    means = _verdict_mean(verdict, cited), _usual_mean(verdict, cited)
    return (
        verdict.metric, stream.version, verdict.prompt_class, verdict.outcome.value, *means, since, verdict.sentence
    )  # fmt: skip


def _prompts_table(windows: Sequence[PromptWindow], evidence: Evidence, embedder: TextEmbedder) -> Table:
    """Return prompts as a whole: T² asks, and a permutation test of the kernel distance decides what it finds."""
    rows: list[Sequence[Cell]] = []
    for window in windows:
        found = window.finding
        cited = evidence.cite(
            f"prompts {window.service} {window.prompt_class}",
            f"prompts of {window.service}, class {window.prompt_class}, against those of the same hours of the four "
            f"weeks before, as {embedder.name}",
            [("prompts", str(found.n)), ("before", str(window.n_reference)), ("level", f"{window.level:.2g}")],
        )
        figures = [
            Figure(None if value is None or np.isnan(value) else value, found.n, evidence=cited, why=why)
            for value, why in ((found.t_squared, ""), (found.p_screen, ""), (found.p_confirm, "not asked"))
        ]
        n = Figure(float(window.n_reference), window.n_reference, unit="count", evidence=cited)
        rows.append((window.service, window.prompt_class, window.outcome.value, *figures, n, found.sentence))
    columns = ("service", "class", "verdict", "T²", "p of T²", "p confirmed", "prompts before", "why")
    return Table(f"Prompts as a whole, as {embedder.name}", columns, rows, "no prompt was scored")


def _usual_mean(verdict: Verdict, cited: str) -> Figure:
    value = None if np.isnan(verdict.reference_mean) else verdict.reference_mean
    return Figure(value, verdict.n_reference, unit="score", evidence=cited)


def _verdict_mean(verdict: Verdict, cited: str) -> Figure:
    if np.isnan(verdict.mean):
        return Figure(None, verdict.n, unit="score", evidence=cited)
    return Figure(verdict.mean, verdict.n, verdict.low, verdict.high, "score", cited)

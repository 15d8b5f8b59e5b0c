"""One drift check on recorded windows: what was read, the verdicts, and how they are printed."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import typer

from contracts.errors import InvalidInput
from controlplane.cli.output import print_json, print_table
from evaluation.drift.embeddings import LEAST_WINDOW, WindowFinding, check_windows
from evaluation.drift.records import Record, read_records
from evaluation.drift.watch import Against, Budget, Outcome, Verdict, Watch, count_outcomes, expected_false_alarms


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be judged against what; see ``roost drift check --help``."""

    window: Path
    normal: Path
    against: str
    version: str | None
    alpha: float
    horizon: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Verdicts on streams and on embeddings' windows, and a sentence for each record that was left out."""

    verdicts: Sequence[Verdict]
    embeddings: Sequence[WindowFinding]
    problems: Sequence[str]
    budget: Budget

    @property
    def has_drifted(self) -> bool:
        """Tell whether anything has."""
        return any(v.outcome is Outcome.DRIFTED for v in self.verdicts) or any(f.drifted for f in self.embeddings)

    @property
    def is_known(self) -> bool:
        """Tell whether anything could be judged at all."""
        return any(v.outcome is not Outcome.NO_DATA for v in self.verdicts) or any(
            math.isfinite(f.t_squared) for f in self.embeddings
        )

    def to_document(self) -> dict[str, object]:
        """Return the answer as JSON."""
        return {
            "alpha": self.budget.alpha,
            "horizon_values": self.budget.values,
            "expected_false_alarms": expected_false_alarms(self.verdicts),
            "verdicts": [verdict.to_document() for verdict in self.verdicts],
            "embeddings": [_finite(asdict(finding)) for finding in self.embeddings],
            "left_out": list(self.problems),
        }


def ask(question: Question) -> Answer:
    """Read both windows and judge."""
    against = Against(question.against)
    live = read_records(question.window, version=question.version)
    # A control is another version in the same hours: it is never filtered by the version that is judged.
    normal = read_records(question.normal, version=None if against is Against.CONTROL else question.version)
    embedded = any(record.embedding is not None for record in live.records)
    share = 0.5 if embedded else 1.0
    streams = Watch(normal.records, Budget(1), against).streams.features
    values = question.horizon or max(len(live.records) * max(len(streams), 1), 1)
    budget = Budget(values, question.alpha * share)
    verdicts = Watch(normal.records, budget, against).check(live.records)
    findings: Sequence[WindowFinding] = ()
    problems = [*live.problems, *normal.problems]
    if embedded:
        try:
            findings = _embeddings(normal.records, live.records, question.alpha * (1 - share))
        except InvalidInput as error:
            problems.append(f"embeddings: {error.message}")
    return Answer(verdicts, findings, problems, budget)


def _embeddings(normal: Sequence[Record], live: Sequence[Record], alpha: float) -> list[WindowFinding]:
    """Judge the live embeddings in windows of two hundred, in the order of time."""
    reference, current = (
        _matrix([record.embedding for record in records if record.embedding is not None]) for records in (normal, live)
    )
    count = max(len(current) // LEAST_WINDOW, 1)
    return check_windows(reference, np.array_split(current, count), planned=count, alpha=alpha)


def _matrix(rows: Sequence[tuple[float, ...]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    if len({len(row) for row in rows}) > 1:
        raise InvalidInput("embeddings are not of one length", hint="embed all outputs by one model")
    return np.array(rows, dtype=float).reshape(len(rows), -1)


def print_answer(answer: Answer, *, as_json: bool) -> None:
    """Print verdicts on standard output, what was left out on standard error."""
    for problem in answer.problems:
        typer.echo(problem, err=True)
    expected = expected_false_alarms(answer.verdicts)
    if as_json:
        print_json(answer.to_document())
        return
    header = ("metric", "class", "verdict", "mean", "before", "n", "why")
    rows = [
        (v.metric, v.prompt_class, v.outcome.value, _number(v.mean), _number(v.reference_mean), str(v.n), v.sentence)
        for v in answer.verdicts
    ]
    rows += [
        (f"embeddings {f.window}", "all", "drifted" if f.drifted else "–", "–", "–", str(f.n), f.sentence)
        for f in answer.embeddings
    ]
    print_table(header, rows)
    counted = ", ".join(f"{number} {outcome.value}" for outcome, number in count_outcomes(answer.verdicts).items())
    typer.echo(f"{counted}; at most {expected:.4f} false alarms were to be expected")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(row: dict[str, object]) -> dict[str, object]:
    return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in row.items()}

"""Drift of the week's prompts as a whole: embedded, and judged against the same hours of the four weeks before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.errors import InvalidInput
from evaluation.drift.embeddings import LEAST_WINDOW, WindowFinding, check_windows
from evaluation.drift.prompt_embedding import TextEmbedder
from evaluation.drift.reference import hour_of_week
from evaluation.drift.watch import Outcome
from evaluation.report.facts import Facts
from evaluation.report.source import ScoreRow

MOST_LIVE, MOST_USUAL = 500, 1000
WINDOWS_A_MONTH = 4


@dataclass(frozen=True, slots=True)
class PromptWindow:
    """What is known of one service's prompts of one class; ``n_reference`` prompts were the usual ones."""

    service: str
    prompt_class: str
    outcome: Outcome
    n_reference: int
    level: float
    finding: WindowFinding


@dataclass(frozen=True, slots=True)
class Prompts:
    """One service's prompts of one class: ``live`` ones, and the usual ones of the four weeks before.

    ``asked`` and ``asked_before`` count them all; of many an even choice over the time is kept.
    """

    service: str
    prompt_class: str
    live: Sequence[str]
    usual: Sequence[str]
    asked: int
    asked_before: int


def prompts_of(scores: Iterable[ScoreRow], earlier: Iterable[ScoreRow]) -> list[Prompts]:
    """Return what was asked for beside what was asked for before, by service and class.

    Only hours of the week in which there are live prompts count, so that a week that isn't over is compared with the
    same days.
    """
    live, usual = _asked(scores), _asked(earlier)
    found = []
    for (service, prompt_class), rows in sorted(live.items()):
        hours = {hour_of_week(at_s) for at_s, _ in rows}
        before = [one for one in usual.get((service, prompt_class), []) if hour_of_week(one[0]) in hours]
        chosen = _even_choice(rows, MOST_LIVE), _even_choice(before, MOST_USUAL)
        found.append(Prompts(service, prompt_class, *chosen, len(rows), len(before)))
    return found


def prompt_windows(facts: Facts, embedder: TextEmbedder, *, alpha: float) -> list[PromptWindow]:
    """Judge each service's prompts, class by class; ``alpha`` bounds any false alarm of one month's reports."""
    found = prompts_of(facts.scores, facts.earlier_scores)
    level = alpha / (WINDOWS_A_MONTH * max(len(found), 1))
    return [_judge(prompts, embedder, level) for prompts in found]


def _asked(rows: Iterable[ScoreRow]) -> Mapping[tuple[str, str], list[tuple[float, str]]]:
    """Return when each live request came and what it asked for, by service and class."""
    seen: dict[tuple[str, str], ScoreRow] = {}
    for row in rows:
        if row.prompt and not row.mirrored:
            seen.setdefault((row.service, row.request_id), row)
    found: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for row in seen.values():
        found[row.service, row.prompt_class or "all"].append((row.at_s, row.prompt))
    return found


def _judge(prompts: Prompts, embedder: TextEmbedder, level: float) -> PromptWindow:
    if min(prompts.asked, prompts.asked_before) < LEAST_WINDOW:
        why = f"{prompts.asked} prompts and {prompts.asked_before} of the same hours before"
        return _unknown(prompts, level, f"{why}, {LEAST_WINDOW} of each are the least")
    try:
        usual, live = embedder.embed(prompts.usual), embedder.embed(prompts.live)
        (finding,) = check_windows(usual, [live], planned=1, alpha=level)
    except InvalidInput as error:
        return _unknown(prompts, level, error.message)
    outcome = Outcome.DRIFTED if finding.drifted else Outcome.STEADY
    return PromptWindow(prompts.service, prompts.prompt_class, outcome, len(prompts.usual), level, finding)


def _unknown(prompts: Prompts, level: float, why: str) -> PromptWindow:
    finding = WindowFinding(1, prompts.asked, np.nan, np.nan, None, drifted=False, sentence=why)
    return PromptWindow(prompts.service, prompts.prompt_class, Outcome.NO_DATA, prompts.asked_before, level, finding)


def _even_choice(asked: Sequence[tuple[float, str]], most: int) -> list[str]:
    """Return at most ``most`` prompts, evenly over the time."""
    texts = [prompt for _, prompt in asked]
    if len(texts) <= most:
        return texts
    return [texts[position] for position in np.linspace(0, len(texts) - 1, most).astype(int)]

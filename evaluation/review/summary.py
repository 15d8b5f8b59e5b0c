"""From judgements to a summary: preferences per pair of versions, agreement, attention."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from evaluation.report.figures import wilson
from evaluation.review.items import WORTH, Choice, Judgement, Kind, Origin
from evaluation.review.port import PairedEvidence
from evaluation.review.results import Preference, ReviewSummary
from evaluation.review.statistics import alpha_interval, bradley_terry, krippendorff_alpha

MOST_DISAGREEMENTS = 12


def summarise(judgements: Sequence[Judgement], evidence: PairedEvidence) -> ReviewSummary:
    """Return what judgements say; checks of attention never count as preferences."""
    wanted = [j for j in judgements if j.item.origin is Origin.WANTED and j.round == 1]
    pairs = [j for j in wanted if j.item.kind is Kind.PAIR]
    answers = _by_item(wanted)
    agreement = [{j.rater: j.choice for j in item if j.choice is not Choice.CANNOT} for item in answers.values()]
    interval = alpha_interval(agreement)
    comparisons = [
        (j.item.first_version, j.item.second_version, (WORTH[j.choice] + 1) / 2)
        for j in pairs
        if j.choice is not Choice.CANNOT
    ]
    return ReviewSummary(
        judged=len(judgements),
        raters=len({j.rater for j in judgements}),
        preferences=[_preference(names, found, evidence) for names, found in sorted(_by_versions(pairs).items())],
        strengths=bradley_terry(comparisons),
        alpha=krippendorff_alpha(agreement),
        alpha_low=interval[0] if interval else None,
        alpha_high=interval[1] if interval else None,
        alpha_items=sum(len(item) >= 2 for item in agreement),
        checks=_checks(judgements),
        median_s=median(j.seconds for j in judgements) if judgements else None,
        disagreements=_disagreements(answers),
    )


def differences(pairs: Sequence[Judgement]) -> list[float]:
    """Return first minus second per item in the order of completion: its raters' mean, so that items are the units.

    An item counts once it has as many judgements as it needs: its value then never changes.
    """
    values = []
    for item in _by_item(pairs).values():
        votes = [WORTH[j.choice] for j in item[: item[0].item.needed] if j.choice is not Choice.CANNOT]
        if len(item) >= item[0].item.needed and votes:
            values.append((max(j.at_s for j in item[: item[0].item.needed]), sum(votes) / len(votes)))
    return [value for _, value in sorted(values, key=lambda pair: pair[0])]


def _by_item(judgements: Sequence[Judgement]) -> dict[str, list[Judgement]]:
    found: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in sorted(judgements, key=lambda j: j.at_s):
        found[judgement.item.item_id].append(judgement)
    return dict(found)


def _by_versions(pairs: Sequence[Judgement]) -> dict[tuple[str, str], list[Judgement]]:
    found: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in pairs:
        found[judgement.item.first_version, judgement.item.second_version].append(judgement)
    return dict(found)


def _preference(names: tuple[str, str], found: Sequence[Judgement], evidence: PairedEvidence) -> Preference:
    first, second, ties = (sum(j.choice is c for j in found) for c in (Choice.FIRST, Choice.SECOND, Choice.TIE))
    n = first + second + ties
    share = (first + ties / 2) / n if n else None
    low, high = wilson(first + ties / 2, n) if n else (None, None)
    return Preference(*names, first, second, ties, share, low, high, evidence.value(differences(found)))


def _checks(judgements: Sequence[Judgement]) -> list[tuple[str, int, int]]:
    """Return what tells whether raters look: sides, gold, planted and repeated items."""
    clear = [j for j in judgements if j.item.kind is Kind.PAIR and j.choice in {Choice.FIRST, Choice.SECOND}]
    gold = [j for j in judgements if j.item.origin is Origin.GOLD]
    planted = [j for j in judgements if j.item.origin is Origin.PLANTED]
    first_round = {(j.item.item_id, j.rater): j.choice for j in judgements if j.round == 1}
    again = [j for j in judgements if j.round > 1 and (j.item.item_id, j.rater) in first_round]
    return [
        ("preferred the left side", sum((j.choice is Choice.FIRST) == j.first_is_left for j in clear), len(clear)),
        ("called the same picture twice a tie", sum(j.choice is Choice.TIE for j in gold), len(gold)),
        ("saw the planted bad one", sum(j.choice is j.item.expected for j in planted), len(planted)),
        ("judged as before", sum(j.choice is first_round[j.item.item_id, j.rater] for j in again), len(again)),
    ]


def _disagreements(answers: dict[str, list[Judgement]]) -> list[tuple[str, str]]:
    """Return items on which raters prefer different versions, for the guidelines' next edition."""
    told = []
    for item in answers.values():
        if {Choice.FIRST, Choice.SECOND} <= {j.choice for j in item}:
            votes = ", ".join(f"{j.rater}: {j.choice.value}" for j in item)
            told.append((f"“{item[0].item.prompt}” ({item[0].item.item_id})", votes))
    return told[:MOST_DISAGREEMENTS]

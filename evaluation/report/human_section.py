"""What people judged, and whether that can be trusted."""

from collections.abc import Sequence

from evaluation.report.document import Cell, Evidence, Section, Table
from evaluation.report.figures import Figure, count, rate
from evaluation.review.results import ReviewSummary


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

"""The week's report put together: sections from facts, then what they come to in five sentences."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from contracts.errors import InvalidInput
from evaluation.report.document import Cell, Evidence, Health, Report, Section, Table
from evaluation.report.drift_section import WeekDrift, drift_section, judge_drift
from evaluation.report.extras import Extras
from evaluation.report.facts import WEEK_HOURS, Facts, read_facts
from evaluation.report.figures import Figure, count, rate
from evaluation.report.human_section import human_section
from evaluation.report.quality_sections import examples_section, quality_section, safety_section
from evaluation.report.rollout_sections import ENDED, incidents_section, rollouts_section, stories, upcoming_section
from evaluation.report.serving_sections import cost_section, objectives_section, served_section
from evaluation.report.source import WeekSource
from evaluation.report.week import Week

HARD_TO_TRUST = 0.4
LITTLE_DATA = 0.5

STANDINGS = {Health.ACT: "to act on", Health.WATCH: "to be watched", Health.HEALTHY: "healthy",
             Health.UNKNOWN: "without data"}  # fmt: skip

DEFINITIONS = (
    ("interval", "95 %; Wilson's for shares, betting (any distribution) for mean scores, ranks for quantiles"),
    ("n", "how many attempts, requests, outputs, pairs or judgements a figure is of"),
    ("no data", "nothing was counted or scored; never a pass, and never by itself a failure"),
    ("evidence", "an e-value: 100 has probability 1 % at most when the null holds, however often one looks"),
    ("expected false alarms", "what the drift detectors raise on average without any drift, at most"),
    ("replica-seconds", "seconds of the ticks in which a replica answered; idle replicas are not counted"),
)


def make_report(source: WeekSource, week: Week, *, now_s: float, extras: Extras | None = None) -> Report:
    """Make one week's report from what was recorded.

    Raises:
        InvalidInput: when the week has not begun.
    """
    if week.start_s > now_s:
        raise InvalidInput(f"week: {week} has not begun", hint="name a past week, or this one")
    return compose(read_facts(source, week), now_s=now_s, extras=extras or Extras())


def compose(facts: Facts, *, now_s: float, extras: Extras) -> Report:
    """Return the report on facts that were read before."""
    evidence = Evidence()
    drift = judge_drift(facts, extras.embedder)
    objectives, health = objectives_section(facts, evidence)
    body = [
        served_section(facts, evidence),
        objectives,
        rollouts_section(facts, evidence),
        quality_section(facts, evidence),
        safety_section(facts, evidence),
        drift_section(facts, evidence, drift, extras),
        human_section(extras.reviews, evidence),
        examples_section(facts, evidence),
        cost_section(facts, evidence, extras.usd_per_hour),
        incidents_section(facts, evidence),
        upcoming_section(facts),
    ]
    actions = _actions(facts, health, drift, extras)
    sections = [
        _coverage_section(facts, evidence, now_s),
        _verdict_section(facts, health, evidence),
        *body,
        _actions_section(actions),
        _definitions_section(facts),
    ]  # fmt: skip
    made_at = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    sentences = _five_sentences(facts, {section.key: section for section in sections}, actions)
    subject = ", ".join(f"{s.service} ({s.model})" if s.model else s.service for s in facts.services)
    sources = tuple(evidence.sources.values())
    return Report(str(facts.week), facts.week.dates, made_at, sentences, sections, sources, subject)


def _coverage_section(facts: Facts, evidence: Evidence, now_s: float) -> Section:
    """Return how much of the week was seen at all, and by which scorers."""
    passed = min(WEEK_HOURS, max(int((now_s - facts.week.start_s) // 3600) + 1, 1))
    cited = evidence.cite("coverage", "hours of the week with any telemetry", [("hours", str(facts.now.hours))])
    silent = sorted({f"{r.metric}: {r.reason}" for r in facts.scores if r.value is None and r.reason})[:10]
    digests = sorted({(r.metric, r.digest) for r in facts.scores if r.digest})
    rows: list[Sequence[Cell]] = [
        ("hours with telemetry", rate(min(facts.now.hours, passed), passed, evidence=cited)),
        ("requests", count(facts.now.of("requests"), evidence=cited)),
        ("attempts", count(facts.now.of("attempts"), evidence=cited)),
        ("mirrored attempts", count(facts.now.of("attempts", mirrored=True), evidence=cited)),
        ("judgements by scorers", count(sum(r.value is not None for r in facts.scores), evidence=cited)),
        ("decisions in the ledger", count(len(facts.records.decisions), evidence=cited)),
    ]
    unfinished = f" The week is not over: {passed} of {WEEK_HOURS} hours." if passed < WEEK_HOURS else ""
    problems = [(problem,) for problem in facts.records.problems]
    nothing = not facts.now.hours and not facts.scores and not facts.records.decisions
    sentence = "Nothing was recorded in this week." if nothing else "What this report could see."
    return Section(
        0,
        "coverage",
        "What was seen",
        sentence + unfinished,
        [
            Table("Coverage", ("what", "figure"), rows),
            Table("Scorers", ("metric", "digest"), digests, "no scorer ran"),
            Table("No score, because", ("reason",), [(reason,) for reason in silent], "every output was scored"),
            *([Table("Could not be read", ("what",), problems)] if problems else []),
        ],
    )


def _verdict_section(facts: Facts, health: Mapping[tuple[str, str], Health], evidence: Evidence) -> Section:
    """Return one line per service and lane: healthy, watch or act, and why."""
    rows: list[Sequence[Cell]] = []
    for service in facts.services:
        lanes = facts.now.lanes(service.service) or [""]
        for lane in lanes:
            mine = {
                objective.name: health[service.service, objective.name]
                for objective in service.objectives
                if objective.lane in {None, lane}
            }
            state = next((h for h in (Health.ACT, Health.WATCH) if h in mine.values()), None)
            state = state or (Health.HEALTHY if Health.HEALTHY in mine.values() else Health.UNKNOWN)
            because = ", ".join(f"{name}: {h.value}" for name, h in mine.items()) or "no objectives are recorded"
            asked = facts.now.of("requests", service=service.service, lane=lane)
            cited = evidence.cite(f"lane {service.service} {lane}", f"telemetry: requests on lane {lane or '(none)'}")
            rows.append((service.service, lane or "–", state.value, because, count(asked, evidence=cited)))
    states = [str(row[2]) for row in rows]
    parts = [f"{states.count(h.value)} {words}" for h, words in STANDINGS.items() if h.value in states]
    sentence = f"{len(rows)} lane{'s' * (len(rows) != 1)}: {', '.join(parts)}." if rows else "No service is known."
    columns = ("service", "lane", "verdict", "because", "requests")
    return Section(1, "verdict", "Verdict", sentence, [Table("Per lane", columns, rows, "no service is known")])


def _actions(
    facts: Facts, health: Mapping[tuple[str, str], Health], drift: WeekDrift, extras: Extras
) -> list[tuple[str, str]]:
    """Return what somebody should do, each with the finding that asks for it."""
    actions = [
        (f"Bring {name} of {service} back, or change its target", "the objective is missed or its budget is gone")
        for (service, name), state in health.items()
        if state is Health.ACT
    ]
    actions += [(f"Look at {metric} on {prompt_class}", why) for metric, prompt_class, why in drift.alarms]
    for story in stories(facts):
        settled = story.decided.decision
        if story.phase in {"rolled-back", "failed"}:
            unproven = str(settled.get("reason")).startswith("timeout.")
            what = f"Give {story.challenger} more time or traffic" if unproven else f"Mend {story.challenger}"
            actions.append((f"{what} ({story.rollout_id})", str(settled.get("sentence"))))
        elif story.phase == "paused":
            actions.append((f"Decide on {story.rollout_id}", str(story.decisions[-1].decision.get("sentence"))))
    unscored = [key for key, state in health.items() if state is Health.UNKNOWN]
    actions += [(f"Find out why {name} of {service} has no data", "no data is no pass") for service, name in unscored]
    if extras.reviews is not None and extras.reviews.alpha is not None and extras.reviews.alpha < HARD_TO_TRUST:
        actions.append(("Talk about the guidelines with the raters", f"they agree at alpha {extras.reviews.alpha:.2f}"))
    return actions


def _actions_section(actions: Sequence[tuple[str, str]]) -> Section:
    sentence = f"{len(actions)} thing{'s' * (len(actions) != 1)} to do." if actions else "Nothing asks for anybody."
    table = Table("Actions", ("what", "because"), actions, "nothing")
    return Section(13, "actions", "What to do next", sentence, [table])


def _definitions_section(facts: Facts) -> Section:
    decisions = facts.records.decisions
    chain = (
        [
            (
                "ledger",
                f"decisions {decisions[0].sequence} to {decisions[-1].sequence}, last digest {decisions[-1].digest}",
            )
        ]
        if decisions
        else []
    )
    specs = [(f"spec of {s.service}", s.digest or "not recorded") for s in facts.services]
    return Section(
        14,
        "appendix",
        "Appendix",
        "What the words mean, and what everything was computed from.",
        [
            Table("Definitions", ("term", "meaning"), DEFINITIONS),
            Table("Identity", ("what", "which"), specs + chain, "–"),
        ],
    )


def _five_sentences(
    facts: Facts, sections: Mapping[str, Section], actions: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Return what the week comes to: traffic, objectives, rollouts, quality with drift, and what to do."""
    asked, was = facts.now.of("requests"), facts.before.of("requests")
    bad = facts.now.of("requests-bad")
    if not asked:
        first = f"No request was counted in {facts.week}."
    else:
        failed: Figure = rate(bad, asked)
        change = f", {100 * (asked / was - 1):+.0f} % on last week" if was else ", with no week before to compare with"
        first = f"{count(asked).text} requests{change}; {failed.text} of them ({bad:.0f}) got no answer."
    ended = sum(story.phase in ENDED for story in stories(facts))
    rollouts = sections["rollouts"].sentence
    drift, quality = sections["drift"].sentence, sections["quality"].sentence
    next_step = "Nothing asks for anybody."
    if actions:
        what = actions[0][0]
        next_step = f"Next: {what[0].lower()}{what[1:]} ({len(actions)} in all)."
    fate = rollouts if ended or "No rollout" in rollouts else f"{rollouts} None has ended."
    return (first, sections["objectives"].sentence, fate, f"{quality} Drift: {drift[0].lower()}{drift[1:]}", next_step)

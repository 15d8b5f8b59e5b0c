"""What needs a person, the worst first: harm and failures, budgets, waiting, alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from contracts.errors import RoostError
from contracts.units import format_duration, format_fraction
from controlplane.web.sources.telemetry import Recorded, Told
from controlplane.web.views.replicas import TROUBLED, ReplicaView
from controlplane.web.views.rollout import RolloutView
from controlplane.web.views.slos import SloList, SloView
from rollout.burn import Finding

TOLD_WITHIN_S = 86400.0
RANKS = ("record", "harm", "missed", "replica", "burn", "waiting", "memory", "alarm", "event")
EVENTS = {
    "watch.harm-proven": ("harm", "/decisions"),
    "monitor.alarm": ("alarm", "/quality"),
    "alias.moved-outside": ("event", "/models"),
    "rollout.waits-for-memory": ("event", "/rollouts"),
    "rollout.outgrown": ("event", "/rollouts"),
}


@dataclass(frozen=True)
class Attention:
    """One thing that needs a person: its kind (in the order of ``RANKS``), what, a sentence, and where it is seen."""

    kind: str
    what: str
    sentence: str
    link: str
    at_s: float | None = None

    @property
    def outlook(self) -> str:
        """How it is shown: bad, or waiting."""
        return "bad" if RANKS.index(self.kind) <= RANKS.index("replica") else "waiting"


@dataclass(frozen=True)
class Signs:
    """Everything that may need a person; of what is ``silenced`` nobody is told."""

    active: Sequence[RolloutView]
    objectives: SloList | None
    replicas: Sequence[ReplicaView]
    out_of_memory: Mapping[tuple[str, str], int]
    recorded: Recorded | None
    problem: RoostError | None
    silenced: frozenset[tuple[str, str]] = frozenset()


def view_attention(signs: Signs, now_s: float) -> tuple[Attention, ...]:
    """Return what needs a person, the worst first, the newest first of each kind."""
    found = [*_rollouts(signs.active), *_objectives(signs.objectives, signs.silenced), *_replicas(signs)]
    if signs.problem is not None:
        found.append(Attention("record", "the record", signs.problem.message, "/decisions"))
    found += [
        Attention(EVENTS[told.code][0], told.subject, told.message, EVENTS[told.code][1], told.at_s)
        for told in (signs.recorded.events if signs.recorded is not None else ())
        if told.code in EVENTS and now_s - told.at_s < TOLD_WITHIN_S and not _is_hushed(told, signs.silenced)
    ]
    return tuple(sorted(found, key=lambda one: (RANKS.index(one.kind), -(one.at_s or 0.0))))


def _is_hushed(told: Told, silenced: frozenset[tuple[str, str]]) -> bool:
    """Tell whether somebody has acknowledged what a monitor says."""
    return told.code == "monitor.alarm" and any(told.message.startswith(f"monitor {name}:") for _, name in silenced)


def _rollouts(active: Sequence[RolloutView]) -> list[Attention]:
    kinds = {"bad": "harm", "waiting": "waiting"}
    return [
        Attention(kinds[view.outlook], view.rollout_id, view.sentence, f"/rollouts/{quote(view.rollout_id)}", view.at_s)
        for view in active
        if view.outlook in kinds
    ]


def _objectives(objectives: SloList | None, silenced: frozenset[tuple[str, str]]) -> list[Attention]:
    found = []
    for row in objectives.rows if objectives is not None else ():
        fires = [finding for finding in row.findings if finding.fires]
        if row.is_missed or (fires and (row.service, row.name) not in silenced):
            sentence = _tell_burn(fires[0]) if not row.is_missed else _tell(row)
            kind = "missed" if row.is_missed else "burn"
            found.append(Attention(kind, f"{row.service} {row.name}", sentence, f"/slos#slo-{row.service}-{row.name}"))
    return found


def _tell_burn(finding: Finding) -> str:
    """Return how fast a budget burns, over both windows, beside the rate above which the alarm fires."""
    windows = " and ".join(
        f"{burn.rate:.3g}× over {format_duration(round(burn.window_s))}" for burn in (finding.long, finding.short)
    )
    return f"the budget burns at {windows}; a {finding.rule.severity.value} is raised above {finding.rule.factor:g}×"


def _tell(row: SloView) -> str:
    """Return what was measured beside what is aimed at; the sentence of a mean score has both."""
    if row.budget is None or row.sli is None:
        return row.sentence
    good = f"{format_fraction(row.sli)} of {row.n} were good, the objective is {format_fraction(row.objective)}"
    return f"{good}; {row.sentence}"


def _replicas(signs: Signs) -> list[Attention]:
    found = [
        Attention(
            "replica",
            f"{replica.version} {replica.name}",
            f"the replica is {replica.state}{f': {replica.message}' if replica.message else ''}",
            f"/#s-{replica.service}",
        )
        for replica in signs.replicas
        if replica.state in TROUBLED
    ]
    for (service, version), count in signs.out_of_memory.items():
        sentence = f"{count} attempt{'s' if count != 1 else ''} ran out of memory in the last hour"
        found.append(Attention("memory", f"{version} for {service}", sentence, f"/#s-{service}"))
    return found

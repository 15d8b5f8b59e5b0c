"""A recorded rollout under another policy, or under a peer's rule: what it would have asked for, tick by tick.

The recorded traffic is taken as it was: a policy that would have given the challenger more or less of it is shown the
counts that were really seen. What it *decides* on them is exact; what it would have *seen* is not knowable.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from contracts.errors import InvalidInput
from rollout.actions import ActionKind
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, CHAMPION
from rollout.machine import Decision, decide, start
from rollout.observation import Observation
from rollout.peers.rule import History, Rule
from rollout.phases import ENDED, Phase
from rollout.policy import Policy
from rollout.simulate.engine import End


@dataclass(frozen=True, slots=True)
class Told:
    """What a rule would have done at one recorded tick."""

    at_s: float
    weight: float
    phase: str
    sentence: str


def replay(policy: Policy, ledger: Sequence[Observation], *, keep_people: bool = False) -> list[Decision]:
    """Decide a recorded rollout again under ``policy``, until it ends.

    What the world acknowledged (weights, alias, retirement) follows the replayed decisions instead of the recorded
    ones; manual actions are left out unless ``keep_people``. Under the policy it ran with, a rollout decides the same.

    Raises:
        InvalidInput: when the ledger is empty, runs backwards, or lacks what the policy reads.
    """
    if not ledger:
        raise InvalidInput("ledger: is empty", hint="hand in the observations of one rollout, in order")
    state = start(policy, at_s=ledger[0].at_s, rollout_id="replay", champion="champion", challenger="challenger")
    decisions: list[Decision] = []
    weight, alias, retired = 0.0, False, False
    for recorded in ledger:
        seen = replace(
            recorded,
            ready=True if decisions else recorded.ready,
            weight_applied=weight,
            alias_moved=alias,
            retired=retired,
            manual=recorded.manual if keep_people else (),
        )
        decision = decide(policy, state, seen)
        decisions.append(decision)
        state, weight = decision.state, decision.weight
        kinds = {action.kind for action in decision.actions}
        alias = (alias or ActionKind.MOVE_ALIAS in kinds) and ActionKind.RESTORE_ALIAS not in kinds
        retired = ActionKind.RETIRE_CHAMPION in kinds or ActionKind.RETIRE_CHALLENGER in kinds
        if state.phase in ENDED:
            break
    return decisions


def tell(decisions: Iterable[Decision]) -> list[Told]:
    """Return a replay's decisions in the form that replays of peers' rules have."""
    return [Told(one.state.at_s, one.weight, one.state.phase.value, one.reason.sentence) for one in decisions]


def replay_rule(rule: Rule, ledger: Sequence[Observation], indicators: Sequence[str], *, tick_s: float) -> list[Told]:
    """Judge a recorded rollout by a peer's rule, at its own interval, until it ends.

    ``indicators`` name the counts that the rule reads, in its order; the ledger's ticks are put on a grid of
    ``tick_s``.

    Raises:
        InvalidInput: when the ledger is empty.
    """
    if not ledger:
        raise InvalidInput("ledger: is empty", hint="hand in the observations of one rollout, in order")
    begun_s = ledger[0].at_s
    ticks = max(round((ledger[-1].at_s - begun_s) / tick_s), 1)
    bad, total = (np.zeros((ticks, 1, len(indicators), 2)) for _ in range(2))
    for observation in ledger:
        tick = min(max(round((observation.at_s - begun_s) / tick_s) - 1, 0), ticks - 1)
        for column, name in enumerate(indicators):
            arms = observation.counts.get(name)
            if arms is None:
                continue
            for arm, tally in ((CHALLENGER, arms.challenger), (CHAMPION, arms.champion)):
                bad[tick, 0, column, arm] += tally.bad
                total[tick, 0, column, arm] += tally.total
    return _looks(rule, bad, total, begun_s, tick_s)


def _looks(rule: Rule, bad: Array, total: Array, begun_s: float, tick_s: float) -> list[Told]:
    course = rule.begin(1)
    every = max(round(rule.interval_s / tick_s), 1)
    told = [Told(begun_s, float(course.weight[0]), Phase.PROGRESSING.value, f"{rule.name} begins")]
    for tick in range(every, len(bad) + 1, every):
        course = rule.look(course, History(bad[:tick], total[:tick], tick_s))
        end = End(int(course.end[0]))
        phase = {End.ROLLED_BACK: Phase.ROLLED_BACK, End.PROMOTED: Phase.PROMOTED}.get(end, Phase.PROGRESSING)
        failed = int(course.failed[0])
        sentence = f"{rule.name}: {failed} failed checks so far" if failed else f"{rule.name}: no failed check"
        told.append(Told(begun_s + tick * tick_s, float(course.weight[0]), phase.value, sentence))
        if end is not End.RUNNING:
            break
    return told

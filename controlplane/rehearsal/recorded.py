"""A recorded rollout decided again: under the policy of a spec, beside what was decided then."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from contracts.errors import NotFound
from controlplane.store.ledger import Entry, Ledger
from rollout.machine import Decision, decide, start
from rollout.observation import Observation
from rollout.policy import Policy
from rollout.replay import replay


@dataclass(frozen=True, slots=True)
class Moment:
    """A tick at which a rollout's phase changed: seconds since its start, the new phase, the weight asked, and why."""

    at_s: float
    phase: str
    weight: float
    reason: str
    sentence: str


@dataclass(frozen=True)
class Rerun:
    """A rollout as it was decided, and as another policy decides it on the same observations.

    ``same_policy``: the policy is the one that it ran under, and so ``differences`` counts the ticks whose phase,
    weight or reason differ; it must be 0 then.
    """

    rollout_id: str
    same_policy: bool
    recorded: tuple[Moment, ...]
    replayed: tuple[Moment, ...]
    differences: int


def rerun(ledger: Ledger, rollout_id: str, policy: Policy) -> Rerun:
    """Decide a rollout of the ledger again.

    Under its own policy everything is taken as it was observed, and every tick must be decided the same. Under another
    the world's acknowledgements follow the new decisions, and what people did is left out.

    Raises:
        NotFound: when the ledger has no such rollout, with those that it has.
        InvalidInput: when its observations lack what the policy reads.
    """
    entries = list(ledger.entries(rollout_id))
    if not entries:
        known = list(dict.fromkeys(entry.rollout_id for entry in ledger.entries()))
        raise NotFound(f"the ledger has no rollout {rollout_id!r}", hint=f"it has: {', '.join(known[-10:]) or 'none'}")
    same = entries[0].policy_digest == policy.digest
    observations = [Observation.from_json(json.dumps(entry.observation)) for entry in entries]
    names = tuple(str(entries[0].decision.get(role) or role) for role in ("champion", "challenger"))
    decisions = decide_again(policy, observations, *names) if same else replay(policy, observations)
    begun_s = entries[0].at_s
    again = [
        Moment(d.state.at_s - begun_s, d.state.phase.value, d.weight, d.reason.code.value, d.reason.sentence)
        for d in decisions
    ]
    then = [_moment(entry, begun_s) for entry in entries]
    pairs = zip(then, again, strict=False)
    differing = sum((a.phase, a.weight, a.reason) != (b.phase, b.weight, b.reason) for a, b in pairs)
    return Rerun(rollout_id, same, _turns(then), _turns(again), differing)


def decide_again(
    policy: Policy, observations: Sequence[Observation], champion: str = "champion", challenger: str = "challenger"
) -> list[Decision]:
    """Decide on exactly what was observed, acknowledgements and people's actions included."""
    state = start(policy, at_s=observations[0].at_s, rollout_id="again", champion=champion, challenger=challenger)
    decisions = []
    for observation in observations:
        decisions.append(decide(policy, state, observation))
        state = decisions[-1].state
    return decisions


def _moment(entry: Entry, begun_s: float) -> Moment:
    told = entry.decision
    return Moment(entry.at_s - begun_s, told["phase"], told["weight"], told["reason"], told["sentence"])


def _turns(moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """Return the moments at which the phase changed, and the last."""
    changes = (now for before, now in pairwise(moments) if now.phase != before.phase)
    turns = [moments[0], *changes]
    return tuple(turns if turns[-1] is moments[-1] else [*turns, moments[-1]])

"""What a week promised, looked back at: every sentence returned says which promise was broken, and where."""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from sqlalchemy import select

from controlplane.jobs.job import Job, JobState
from controlplane.jobs.store import Jobs
from controlplane.policies import policy_of
from controlplane.store.database import Database
from controlplane.store.ledger import Entry
from controlplane.store.rollouts import StoredRollout
from controlplane.store.schema import JOB_STEPS, SCHEDULE_SLOTS
from rollout.machine import decide, start
from rollout.observation import Observation
from rollout.state import State
from tests.simulation.gateway import SERVICE
from tests.simulation.worker import KINDS, STEPS

if TYPE_CHECKING:
    from tests.simulation.week import Week

STALE_S = 60.0


def look_back(week: "Week") -> list[str]:
    """Return what was broken in a week that is over."""
    broken = []
    ledger = list(week.stores.ledger.entries())
    week.decisions = week.stores.ledger.verify()
    for rollout in sorted({entry.rollout_id for entry in ledger}):
        entries = [entry for entry in ledger if entry.rollout_id == rollout]
        row = week.stores.rollouts.get(rollout)
        totals = [_total(entry.observation) for entry in entries]
        mine = [batch for batch in week.gateway.served if batch.start_s >= row.created_s]
        prefixes = {0, *accumulate(sum(a.total for a in batch.attempts) for batch in mine)}
        if not set(accumulate(totals)) <= prefixes:
            broken.append(f"{rollout}: telemetry was lost or counted twice")
        broken += _check_one_writer(week, row, entries) + _check_proof(rollout, entries)
    owner, alias = week.stores.services.production(SERVICE).champion, week.catalogue.aliases["m", "champion"]
    if str(alias) != owner:
        broken.append(f"MLflow says {alias}, production is {owner}'s")
    return broken + _check_jobs(week)


def unfinished_jobs(database: Database) -> list[Job]:
    """Return the jobs that are not over yet."""
    return Jobs(database, KINDS).list(states=(JobState.WAITING, JobState.RUNNING))


def _check_one_writer(week: "Week", row: StoredRollout, entries: Sequence[Entry]) -> list[str]:
    """Promise 1: the decisions are one history; decided again from what was seen, each follows from the one before."""
    policy = policy_of(week.stores.services.get(row.service, row.service_revision).spec)
    state = start(policy, at_s=row.created_s, rollout_id=row.id, champion=row.champion, challenger=row.challenger)
    for number, entry in enumerate(entries):
        decision = decide(policy, state, Observation.from_json(json.dumps(entry.observation)))
        told = (decision.state.phase, decision.weight, decision.reason.code)
        if told != (entry.decision["phase"], entry.decision["weight"], entry.decision["reason"]):
            return [f"{row.id}: decision {number} does not follow from those before: {told}"]
        state = decision.state
    return [] if state == State.from_json(row.state) else [f"{row.id}: its row is not what its decisions lead to"]


def _check_proof(rollout: str, entries: Sequence[Entry]) -> list[str]:
    """Promise 4: nothing is promoted without fresh data and a proof."""
    broken = []
    for entry in entries:
        if entry.decision["reason"] != "gate.safe-proven":
            continue
        seen = Observation.from_json(json.dumps(entry.observation))
        if seen.newest_telemetry_s is None or seen.at_s - seen.newest_telemetry_s > STALE_S:
            broken.append(f"{rollout} was promoted on stale data")
        outcomes = {verdict["outcome"] for verdict in entry.decision["verdicts"]}
        if outcomes != {"pass"}:
            broken.append(f"{rollout} was promoted though its gates say {outcomes}")
    return broken


def _check_jobs(week: "Week") -> list[str]:
    """Promise 6: every slot's job was done, each of its steps at least once, and each is recorded once."""
    jobs, broken = Jobs(week.stores.database, KINDS), []
    with week.stores.database.read() as connection:
        slots = [row.job for row in connection.execute(select(SCHEDULE_SLOTS.c.job))]
        steps = {(row.job, row.name): json.loads(row.result) for row in connection.execute(select(JOB_STEPS))}
    for name in slots:
        job = jobs.get(name)
        kept = [steps.get((name, step)) for step in STEPS]
        if job.state is not JobState.DONE or job.result != {"results": kept}:
            broken.append(f"job {name} is {job.state} with {job.result}, and its steps say {kept}")
        if not all(week.jobs_done[name, step] for step in STEPS):
            broken.append(f"job {name} is recorded, and was never carried out")
    if not slots:
        broken.append("no job was ever asked for")
    return broken


def _total(observation: dict[str, object]) -> int:
    arms = observation["counts"]
    tick = arms.get("availability") if isinstance(arms, dict) else None
    return tick["challenger"]["total"] + tick["champion"]["total"] if tick else 0

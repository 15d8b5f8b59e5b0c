"""A worker of jobs in virtual time: it may be struck between any two of its writes, like a process of its own."""

from collections import Counter

import numpy as np

from contracts.errors import Conflict, Unavailable
from controlplane.jobs.claims import Claim
from controlplane.jobs.kinds import JobKind, JobKinds
from controlplane.jobs.schedules import Schedules
from controlplane.jobs.store import Jobs
from controlplane.store.database import Database

KINDS = JobKinds([JobKind("tidy", "nowhere:nothing", "quick", at_once=2, max_attempts=99)])
STEPS = ("sweep", "mop", "dry")
SCHEDULE = "every 6h"
LENGTH_S = 25.0
LOOK_EVERY_S = 900.0


def make_jobs(database: Database) -> Schedules:
    """Return the schedules of one database."""
    return Schedules(Jobs(database, KINDS))


class SimulatedWorker:
    """Works the job that is due; ``done`` counts how often each step was really carried out."""

    def __init__(self, name: str, database: Database, rng: np.random.Generator, done: Counter[tuple[str, str]]) -> None:
        self._name, self._database, self._rng, self._done = name, database, rng, done
        self._jobs = Jobs(database, KINDS)
        self._claim: Claim | None = None
        self._looked_s = -LOOK_EVERY_S

    def step(self, at_s: float) -> bool:
        """Work one job as far as it goes; False when it had gone to another worker meanwhile."""
        if self._claim is None and at_s - self._looked_s < LOOK_EVERY_S:
            return True
        self._looked_s = at_s
        try:
            self._work()
        except Unavailable:
            return True  # the claim is kept, and tried again
        except Conflict:
            self._claim = None
            return False
        return True

    def _work(self) -> None:
        if self._claim is None:
            Schedules(self._jobs).submit_due()
            job = self._jobs.claim(self._name, LENGTH_S)
            if job is None:
                return
            self._claim = Claim(self._database, job)
        claim, results = self._claim, []
        for name in STEPS:
            was_done, result = claim.step(name)
            if not was_done:
                self._done[claim.job.id, name] += 1
                result = claim.keep_step(name, int(self._rng.integers(1 << 30)))
            results.append(result)
        claim.finish({"results": results})
        self._claim = None

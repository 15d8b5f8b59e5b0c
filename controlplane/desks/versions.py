"""Versions as people have them worked on: made smaller or faster, and measured; what may be asked, and why not."""

from contracts.ids import VersionRef
from controlplane.desks.offers import Offer
from controlplane.jobs.job import Job, JobState
from controlplane.stores import Stores
from registry.catalogue import Catalogue

LIVING = (JobState.WAITING, JobState.RUNNING)
EFFECTS = {
    "optimise": "a new version is made from {version} and registered if it passes its golden prompts; traffic stays",
    "profile": "latency, memory and cost of {version} are measured and kept with it; traffic stays",
}
MOST_JOBS = 500


class VersionDesk:
    """Tells which jobs may be asked for on a version."""

    def __init__(self, stores: Stores, catalogue: Catalogue) -> None:
        self._stores, self._catalogue = stores, catalogue

    def offers(self, version: VersionRef) -> list[Offer]:
        """Return each kind of job that works on a version, with what it does, or why it would be asked for twice.

        Raises:
            NotFound: when there is no such version.
        """
        name = str(self._catalogue.get(version).id)
        living = self._stores.jobs.list(states=LIVING, at_most=MOST_JOBS)
        return [self._offer(kind, effect.format(version=name), name, living) for kind, effect in EFFECTS.items()]

    def _offer(self, kind: str, effect: str, version: str, living: list[Job]) -> Offer:
        same = next((job for job in living if job.kind == kind and job.arguments.get("version") == version), None)
        if same is not None:
            why = f"{same.id} does that: it is {same.state.value}, asked for by {same.actor}"
            return Offer(kind, allowed=False, why_not=why, effect="")
        queue = self._stores.jobs.kinds.get(kind).queue
        before = sum(job.queue == queue for job in living)
        waits = f"; {before} job{'s' if before != 1 else ''} come{'s' if before == 1 else ''} first" if before else ""
        return Offer(kind, allowed=True, why_not="", effect=f"{effect}{waits}")

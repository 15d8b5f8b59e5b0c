"""Search over rollouts, versions and decisions."""

from dataclasses import dataclass

from controlplane.web.sources.shelf import Snapshot
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.story import Chronicle, Row
from registry.catalogue import VersionRecord

MOST_FOUND = 20


@dataclass(frozen=True)
class Found:
    """What contains the words, the newest first of each kind."""

    rollouts: tuple[RolloutView, ...]
    versions: tuple[VersionRecord, ...]
    decisions: tuple[Row, ...]

    @property
    def count(self) -> int:
        """How much was found."""
        return len(self.rollouts) + len(self.versions) + len(self.decisions)


def search(chronicle: Chronicle, shelf: Snapshot | None, words: str) -> Found:
    """Return what contains ``words``, case aside; nothing for no words."""
    wanted = words.strip().lower()
    if not wanted:
        return Found((), (), ())
    rollouts = [
        view_rollout(story)
        for story in chronicle.newest()
        if wanted in f"{story.rollout_id} {story.champion} {story.challenger}".lower()
    ]
    records = [record for records in (shelf.versions if shelf else {}).values() for record in records]
    versions = [r for r in records if wanted in f"{r.id} {r.description} {r.digest} {' '.join(r.aliases)}".lower()]
    decisions = [
        row for row in reversed(chronicle.rows) if row.changed and wanted in f"{row.sentence} {row.reason}".lower()
    ]
    return Found(tuple(rollouts[:MOST_FOUND]), tuple(versions[:MOST_FOUND]), tuple(decisions[:MOST_FOUND]))

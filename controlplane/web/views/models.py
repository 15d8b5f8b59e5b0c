"""Models: which version serves, since when and by whose decision; what served when; where versions come from."""

from dataclasses import dataclass

from contracts.errors import NotFound
from contracts.ids import CHAMPION, VersionId
from controlplane.web.sources.shelf import Snapshot
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.story import Chronicle
from registry.catalogue import VersionRecord
from registry.journal import Move
from registry.profile.compare import Contender

CLOSED = frozenset({"moved", "undone", "adopted"})
ROLLOUT_ACTOR = "rollout/"


@dataclass(frozen=True)
class Reign:
    """A time in which an alias pointed at a version: who pointed it there and why; ``until_s`` None: it does now."""

    alias: str
    version: str
    since_s: float
    until_s: float | None
    actor: str
    reason: str
    rollout_id: str = ""


@dataclass(frozen=True)
class VersionRow:
    """One version with its parent, what made it, and how its rollouts ended."""

    record: VersionRecord
    parent: str
    rollouts: tuple[RolloutView, ...]
    depth: int = 0


@dataclass(frozen=True)
class ModelView:
    """One model: its sentence, versions newest first, and its champions' reigns, newest first."""

    name: str
    sentence: str
    versions: tuple[VersionRow, ...]
    reigns: tuple[Reign, ...]
    moves: tuple[Move, ...]
    profiles: tuple[Contender, ...]


@dataclass(frozen=True)
class ModelRow:
    """One model in the list."""

    name: str
    champion: Reign | None
    versions: int


def view_models(shelf: Snapshot | None) -> tuple[ModelRow, ...]:
    """Return all models with what their champion is."""
    if shelf is None:
        return ()
    return tuple(
        ModelRow(model, _now(_reigns(shelf.moves.get(model, []))), len(records))
        for model, records in sorted(shelf.versions.items())
    )


def view_model(shelf: Snapshot | None, chronicle: Chronicle, name: str) -> ModelView:
    """Return one model.

    Raises:
        NotFound: when no version of it is registered.
    """
    records = shelf.versions.get(name, []) if shelf else []
    if shelf is None or not records:
        known = ", ".join(sorted(shelf.versions)) if shelf else ""
        raise NotFound(f"no versions of {name!r} are registered", hint=f"models: {known or 'none'}")
    moves = shelf.moves.get(name, [])
    reigns = _reigns(moves)
    stories: dict[str, list[RolloutView]] = {}
    for story in chronicle.newest():
        stories.setdefault(story.challenger, []).append(view_rollout(story))
    parents = {record.id: record.parent for record in records}
    rows = tuple(
        VersionRow(
            record,
            str(record.parent or ""),
            tuple(stories.get(str(record.id), ())),
            _depth(record.id, parents),
        )
        for record in records
    )
    return ModelView(
        name,
        _summarise(name, reigns, len(records)),
        rows,
        tuple(reversed(reigns)),
        tuple(moves[::-1]),
        tuple(shelf.profiles.get(name, ())),
    )


def _reigns(moves: list[Move]) -> list[Reign]:
    """Return the champion's reigns, oldest first; aliases of lanes (champion-LANE) reign beside it."""
    open_: dict[str, Move] = {}
    reigns: list[Reign] = []
    for move in moves:
        if move.kind not in CLOSED or not move.alias.startswith(CHAMPION):
            continue
        before = open_.pop(move.alias, None)
        if before is not None:
            reigns.append(_reign(before, move.at_s))
        if move.target is not None:
            open_[move.alias] = move
    reigns += [_reign(move, None) for move in open_.values()]
    return sorted(reigns, key=lambda reign: reign.since_s)


def _reign(move: Move, until_s: float | None) -> Reign:
    rollout_id = move.actor.removeprefix(ROLLOUT_ACTOR) if move.actor.startswith(ROLLOUT_ACTOR) else ""
    return Reign(move.alias, str(move.target), move.at_s, until_s, move.actor, move.reason, rollout_id)


def _now(reigns: list[Reign]) -> Reign | None:
    return next((reign for reign in reversed(reigns) if reign.until_s is None and reign.alias == CHAMPION), None)


def _depth(version: VersionId, parents: dict[VersionId, VersionId | None]) -> int:
    """Return how many ancestors a version has in this model; a ring counts once round."""
    depth, seen, current = 0, {version}, parents.get(version)
    while current is not None and current not in seen:
        seen.add(current)
        depth, current = depth + 1, parents.get(current)
    return depth


def _summarise(name: str, reigns: list[Reign], versions: int) -> str:
    now = _now(reigns)
    if now is None:
        return f"{versions} versions of {name} are registered; none is champion."
    return f"{now.version} is champion of {name}: {now.reason or 'no reason was given'}."

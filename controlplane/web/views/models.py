"""Models: which version serves, since when and by whose decision; what served when; where versions come from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.errors import NotFound
from contracts.ids import CHAMPION, VersionId
from controlplane.web.sources.shelf import Snapshot
from controlplane.web.views.period import EVER, Span
from controlplane.web.views.rollout import RolloutView, view_rollout
from controlplane.web.views.story import Chronicle
from registry.catalogue import VersionRecord
from registry.journal import Move
from registry.profile.compare import Contender

MARK = re.compile(r" \((?:[^()]+, generation \d+, step \d+, )?leader \d+\)$")
"""How the machine recognises a move of its own; nothing for people."""
CLOSED = frozenset({"moved", "undone", "adopted"})
ROLLOUT_ACTOR = "rollout/"
DEEPEST = 30


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


@dataclass(frozen=True)
class Branch:
    """One version in the tree of what was made from what; ``parent`` is told where it is another model's."""

    record: VersionRecord
    parent: str
    children: tuple["Branch", ...]


@dataclass(frozen=True)
class Bar:
    """One reign drawn: where it begins and ends, from 0 to 100, and whether it is every second of its alias."""

    reign: Reign
    x: float
    width: float
    is_even: bool


@dataclass(frozen=True)
class ModelView:
    """One model: its sentence, versions newest first, its champions' reigns newest first and drawn by alias."""

    name: str
    sentence: str
    versions: tuple[VersionRow, ...]
    tree: tuple[Branch, ...]
    reigns: tuple[Reign, ...]
    bars: tuple[tuple[str, tuple[Bar, ...]], ...]
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


def view_model(shelf: Snapshot | None, chronicle: Chronicle, name: str, now_s: float, span: Span = EVER) -> ModelView:
    """Return one model; what served when and alias moves are those of a time.

    Raises:
        NotFound: when no version of it is registered.
    """
    records = shelf.versions.get(name, []) if shelf else []
    if shelf is None or not records:
        known = ", ".join(sorted(shelf.versions)) if shelf else ""
        raise NotFound(f"no versions of {name!r} are registered", hint=f"models: {known or 'none'}")
    moves = shelf.moves.get(name, [])
    reigns = _reigns(moves)
    shown = [reign for reign in reigns if span.meets(reign.since_s, now_s if reign.until_s is None else reign.until_s)]
    stories: dict[str, list[RolloutView]] = {}
    for story in chronicle.newest():
        stories.setdefault(story.challenger, []).append(view_rollout(story))
    rows = tuple(
        VersionRow(record, str(record.parent or ""), tuple(stories.get(str(record.id), ()))) for record in records
    )
    return ModelView(
        name,
        _summarise(name, reigns, len(records)),
        rows,
        grow_tree(records),
        tuple(reversed(shown)),
        draw_reigns(shown, max(span.since_s, shown[0].since_s if shown else now_s), min(span.until_s, now_s)),
        tuple(move for move in moves[::-1] if span.holds(move.at_s)),
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
    reason = MARK.sub("", move.reason)
    return Reign(move.alias, str(move.target), move.at_s, until_s, move.actor, reason, rollout_id)


def _now(reigns: list[Reign]) -> Reign | None:
    return next((reign for reign in reversed(reigns) if reign.until_s is None and reign.alias == CHAMPION), None)


def draw_reigns(reigns: Sequence[Reign], first_s: float, last_s: float) -> tuple[tuple[str, tuple[Bar, ...]], ...]:
    """Return each alias's reigns as bars over a time, cut where it begins and ends."""
    span_s = max(last_s - first_s, 1.0)
    bars: dict[str, list[Bar]] = {}
    for reign in reigns:
        mine = bars.setdefault(reign.alias, [])
        begin_s, end_s = max(reign.since_s, first_s), min(last_s if reign.until_s is None else reign.until_s, last_s)
        place = (100 * (begin_s - first_s) / span_s, 100 * (end_s - begin_s) / span_s)
        mine.append(Bar(reign, *place, is_even=len(mine) % 2 == 1))
    return tuple((alias, tuple(mine)) for alias, mine in bars.items())


def grow_tree(records: Sequence[VersionRecord]) -> tuple[Branch, ...]:
    """Return a model's versions as trees of what was made from what, the oldest first; a ring begins at its oldest.

    What is deeper than a page can show begins a tree of its own.
    """
    known = {record.id: record for record in sorted(records, key=lambda record: record.id)}
    children: dict[VersionId, list[VersionRecord]] = {}
    for record in known.values():
        if record.parent in known:
            children.setdefault(record.parent, []).append(record)
    placed: set[VersionId] = set()

    def branch(record: VersionRecord, depth: int = 0) -> Branch:
        placed.add(record.id)
        below = children.get(record.id, ()) if depth < DEEPEST else ()
        mine = tuple(branch(child, depth + 1) for child in below if child.id not in placed)
        return Branch(record, str(record.parent or ""), mine)

    roots = [branch(record) for record in known.values() if record.parent not in known]
    return tuple(roots + [branch(record) for record in known.values() if record.id not in placed])


def _summarise(name: str, reigns: list[Reign], versions: int) -> str:
    now = _now(reigns)
    if now is None:
        return f"{versions} versions of {name} are registered; none is champion."
    since = datetime.fromtimestamp(now.since_s, UTC)
    by = f"rollout {now.rollout_id}" if now.rollout_id else now.actor
    why = now.reason or "no reason was given"
    return f"{now.version} is champion of {name} since {since:%Y-%m-%d %H:%M} UTC, by {by}: {why}."

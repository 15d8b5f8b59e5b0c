"""Aliases: the one guarded way to move them, with a history, and back again.

MLflow's aliases are last-writer-wins and remember nothing. Here a move is written down before and after, compared
with what the history expects, and read back; a move made by hand in MLflow is noticed and never overwritten.
"""

from enum import Enum
from typing import Final, Literal, Protocol

from contracts.errors import Conflict, NotFound, Unavailable
from contracts.ids import CHAMPION, PREVIOUS, VersionId, parse_alias
from registry.catalogue import VersionState
from registry.journal import Journal, Move, MoveKind

CONTROL_PLANE: Final = "control-plane"
CLOSING: Final[dict[str, MoveKind]] = {"intended": "moved", "undoing": "undone"}


class Expectation(Enum):
    """Where a mover expects the alias to point, when it does not name a version."""

    ANYWHERE = "anywhere"


class AliasStore(Protocol):
    """The engine that keeps aliases, last writer wins."""

    def alias_target(self, model: str, alias: str) -> VersionId | None:
        """Return where an alias points now."""
        ...

    def set_alias(self, version: VersionId, alias: str) -> None:
        """Point an alias at a version."""
        ...

    def delete_alias(self, model: str, alias: str) -> None:
        """Let an alias point nowhere."""
        ...

    def aliases_of(self, version: VersionId) -> tuple[str, ...] | None:
        """Return the aliases of one of our versions; None when there is no such version."""
        ...

    def mark(self, version: VersionId, state: VersionState) -> None:
        """Write down how far a version is in its life."""
        ...


class AliasDesk:
    """Moves aliases one at a time, each move in the journal with who, when, why, from and to."""

    def __init__(self, store: AliasStore, journal: Journal) -> None:
        self._store, self._journal = store, journal

    def move(
        self,
        version: VersionId,
        alias: str,
        *,
        actor: str = CONTROL_PLANE,
        reason: str = "",
        expected: VersionId | Expectation | None = Expectation.ANYWHERE,
    ) -> VersionId | None:
        """Point ``alias`` at ``version`` and return where it pointed before; where it points already, do nothing.

        Raises:
            NotFound: when the version is not ours or does not exist.
            Conflict: when the alias does not point where ``expected`` says, or was moved outside Roost.
            Unavailable: when it points elsewhere afterwards.
        """
        alias = parse_alias(alias)
        self._require(version)
        with self._journal.alone():
            before = self._settle(version.model, alias)
            if not isinstance(expected, Expectation) and before != expected:
                raise Conflict(
                    f"{alias} of {version.model} points at {_name(before)}, not at {_name(expected)}",
                    hint="somebody was quicker; look at its history and decide again",
                )
            if before != version:
                self._carry_out("intended", alias, before, version, actor=actor, reason=reason)
        return before

    def crown(
        self,
        version: VersionId,
        alias: str = CHAMPION,
        *,
        actor: str = CONTROL_PLANE,
        reason: str = "",
        expected: VersionId | Expectation | None = Expectation.ANYWHERE,
    ) -> VersionId | None:
        """Make a version champion, of a lane with ``champion-LANE``; ``previous`` follows to the one before.

        Raises:
            NotFound, Conflict, Unavailable: as ``move``.
        """
        alias = parse_alias(alias)
        before = self.move(version, alias, actor=actor, reason=reason, expected=expected)
        if before is not None and before != version and self._store.aliases_of(before) is not None:
            self.move(before, previous_of(alias), actor=actor, reason=reason)
        return before

    def undo(self, model: str, alias: str = CHAMPION, *, actor: str, reason: str) -> tuple[VersionId, VersionId]:
        """Point an alias back at the version before, passing over deleted ones; return from and to.

        Undone moves don't count: undoing twice goes two versions back, not forth again.

        Raises:
            NotFound: when the history holds no version to go back to.
            Conflict: when the alias was moved outside Roost.
        """
        alias = parse_alias(alias)
        with self._journal.alone():
            current = self._settle(model, alias)
            earlier = [version for version in self._course(model, alias) if version not in {None, current}]
            target = next((v for v in reversed(earlier) if v and self._store.aliases_of(v) is not None), None)
            if current is None or target is None:
                raise NotFound(f"{alias} of {model} has no version to go back to", hint=f"roost model history {model}")
            self._carry_out("undoing", alias, current, target, actor=actor, reason=reason)
        if is_champion(alias):
            self._let_previous_follow(model, alias, actor=actor, reason=reason)
        return current, target

    def reconcile(
        self, model: str, alias: str, choice: Literal["adopt", "revert"], *, actor: str, reason: str
    ) -> VersionId | None:
        """Settle a move made outside Roost: ``adopt`` takes it into the history, ``revert`` takes it back.

        Returns where the alias points afterwards.

        Raises:
            NotFound: when ``revert`` would need a version that was deleted.
        """
        alias = parse_alias(alias)
        with self._journal.alone():
            self._close_intention(model, alias)
            course, actual = self._course(model, alias), self._store.alias_target(model, alias)
            known = course[-1] if course else None
            if known == actual:
                return actual
            if choice == "adopt":
                self._journal.write_move(model, alias, "adopted", known, actual, actor=actor, reason=reason)
                return actual
            if known is None:
                self._store.delete_alias(model, alias)
            else:
                self._require(known)
                self._store.set_alias(known, alias)
            return known

    def history(self, model: str, alias: str | None = None) -> list[Move]:
        """Return what happened to a model's aliases, oldest first, intentions left out that were carried out."""
        return [
            move
            for move in self._journal.moves(model, parse_alias(alias) if alias else None)
            if move.kind not in CLOSING
        ]

    def strays(self, model: str) -> list[str]:
        """Return a sentence for each alias that no longer points where Roost left it: moved or deleted by hand."""
        aliases = sorted(self._journal.aliases(model))
        found = []
        for alias in aliases:
            course, actual = self._course(model, alias), self._store.alias_target(model, alias)
            if course and course[-1] != actual:
                found.append(self._tell_stray(model, alias, course[-1], actual))
        return found

    def _settle(self, model: str, alias: str) -> VersionId | None:
        """Finish what a crash left open, and return where the alias points, in MLflow and in the history alike."""
        self._close_intention(model, alias)
        course, actual = self._course(model, alias), self._store.alias_target(model, alias)
        if not course:
            if actual is not None:
                reason = "stood so in MLflow before Roost first moved it"
                self._journal.write_move(model, alias, "adopted", None, actual, actor="mlflow", reason=reason)
        elif course[-1] != actual and self._is_forgotten(alias, course[-1], actual):
            reason = "the version was deleted in MLflow"
            self._journal.write_move(model, alias, "adopted", course[-1], actual, actor="mlflow", reason=reason)
        elif course[-1] != actual:
            raise Conflict(
                self._tell_stray(model, alias, course[-1], actual),
                hint=f"take it as it is: roost model reconcile {model} {alias} --adopt; put it back: --revert",
            )
        return actual

    def _is_forgotten(self, alias: str, known: VersionId | None, actual: VersionId | None) -> bool:
        """Tell whether a ``previous`` only lost its version: nobody is served from it, so nobody need be asked."""
        gone = known is not None and self._store.aliases_of(known) is None
        return gone and actual is None and (alias == PREVIOUS or alias.startswith(f"{PREVIOUS}-"))

    def _close_intention(self, model: str, alias: str) -> None:
        """End a move that was begun and cut off: MLflow tells whether it took."""
        moves = self._journal.moves(model, alias)
        if moves and moves[-1].kind in CLOSING:
            last = moves[-1]
            took = self._store.alias_target(model, alias) == last.target
            kind = CLOSING[last.kind] if took else "abandoned"
            self._journal.write_move(model, alias, kind, last.origin, last.target, actor=last.actor, reason=last.reason)

    def _carry_out(
        self,
        kind: MoveKind,
        alias: str,
        origin: VersionId | None,
        target: VersionId,
        *,
        actor: str,
        reason: str,
    ) -> None:
        model = target.model
        self._journal.write_move(model, alias, kind, origin, target, actor=actor, reason=reason)
        self._store.set_alias(target, alias)
        if self._store.alias_target(model, alias) != target:
            self._journal.write_move(model, alias, "abandoned", origin, target, actor=actor, reason=reason)
            raise Unavailable(f"{alias} of {model} was moved by somebody else just now", hint="try again")
        self._journal.write_move(model, alias, CLOSING[kind], origin, target, actor=actor, reason=reason)
        if is_champion(alias):
            self._mark(origin, target, undone=kind == "undoing")

    def _mark(self, origin: VersionId | None, target: VersionId, *, undone: bool) -> None:
        """Retire a champion of no lane any more, or call it rolled back when its crowning was undone."""
        self._store.mark(target, VersionState.CHAMPION)
        left = self._store.aliases_of(origin) if origin is not None else None
        if origin is not None and left is not None and not any(map(is_champion, left)):
            self._store.mark(origin, VersionState.ROLLED_BACK if undone else VersionState.RETIRED)

    def _let_previous_follow(self, model: str, alias: str, *, actor: str, reason: str) -> None:
        """Point ``previous`` at the champion before this one; at nothing when this was the first."""
        course = self._course(model, alias)
        earlier = [v for v in course[:-1] if v and v != course[-1] and self._store.aliases_of(v) is not None]
        if earlier:
            self.move(earlier[-1], previous_of(alias), actor=actor, reason=reason)
        else:
            self._drop(model, previous_of(alias), actor=actor, reason=reason)

    def _drop(self, model: str, alias: str, *, actor: str, reason: str) -> None:
        with self._journal.alone():
            before = self._settle(model, alias)
            if before is not None:
                self._journal.write_move(model, alias, "intended", before, None, actor=actor, reason=reason)
                self._store.delete_alias(model, alias)
                self._journal.write_move(model, alias, "moved", before, None, actor=actor, reason=reason)

    def _course(self, model: str, alias: str) -> list[VersionId | None]:
        """Return where the alias pointed, in order, as if undone moves had never been; empty without a history."""
        course: list[VersionId | None] = []
        for move in self._journal.moves(model, alias):
            if move.kind in {"moved", "adopted"}:
                course.append(move.target)
            elif move.kind == "undone":
                while course and course[-1] != move.target:
                    course.pop()
        return course

    def _tell_stray(self, model: str, alias: str, known: VersionId | None, actual: VersionId | None) -> str:
        if known is not None and self._store.aliases_of(known) is None:
            return f"{known}, which was {alias}, was deleted in MLflow; {alias} points at {_name(actual)} now"
        return f"{alias} of {model} was moved outside Roost, from {_name(known)} to {_name(actual)}"

    def _require(self, version: VersionId) -> None:
        if self._store.aliases_of(version) is None:
            raise NotFound(f"{version} is not registered", hint=f"roost model list {version.model}")


def is_champion(alias: str) -> bool:
    """Tell whether an alias names the version that serves, of everything or of one lane (``champion-draft``)."""
    return alias == CHAMPION or alias.startswith(f"{CHAMPION}-")


def previous_of(alias: str) -> str:
    """Return the alias that remembers whom a champion followed: ``champion-draft`` gives ``previous-draft``."""
    return PREVIOUS + alias.removeprefix(CHAMPION) if is_champion(alias) else f"{PREVIOUS}-{alias}"


def _name(version: VersionId | None) -> str:
    return str(version) if version is not None else "nothing"

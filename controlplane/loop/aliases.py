"""The alias keeper: MLflow's aliases follow our production; what somebody else moved is noticed and settled."""

from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol

from contracts.clock import Clock
from contracts.errors import Conflict, NotFound, RoostError
from contracts.ids import CHAMPION, PREVIOUS, VersionId, VersionRef
from contracts.records import record
from contracts.specs.service import AliasPolicy
from controlplane.loop.chores import Chores, Outcome
from registry.catalogue import Catalogue

POLL_S = 5.0


class AliasReconciler(Protocol):
    """Settles a move that was made outside Roost, in the catalogue's journal; see ``registry.aliases``."""

    def __call__(
        self, model: str, alias: str, choice: Literal["adopt", "revert"], *, actor: str, reason: str
    ) -> VersionId | None:
        """Take the move into the history, or take it back."""
        ...


@record(frozen=True, slots=True)
class Wanted:
    """Where a model's champion alias should point, and its ``previous``, by whom and why.

    With ``insist`` a move of somebody else's is taken back whatever the policy says: a promotion is under way.
    ``may_follow`` tells whether ``previous`` may name a version: one that was rolled back is nothing to go back to.
    ``may_act`` is asked right before the move.
    """

    version: VersionId
    previous: VersionId | None
    policy: AliasPolicy
    actor: str
    reason: str
    insist: bool
    may_follow: Callable[[VersionId], bool]
    may_act: Callable[[], bool]


@record(frozen=True, slots=True)
class AliasState:
    """Where the alias points; ``found`` is where somebody else had pointed it, if ``stray``; ``error`` why it stays."""

    target: VersionId | None
    known: bool = True
    stray: bool = False
    found: VersionId | None = None
    error: RoostError | None = None


UNSEEN = AliasState(None, known=False)


class AliasKeeper:
    """Looks at each model's champion alias now and then, and moves it; never in the loop's own time."""

    def __init__(
        self, catalogue: Catalogue, chores: Chores, clock: Clock, reconcile: AliasReconciler | None = None
    ) -> None:
        self._catalogue, self._chores, self._clock, self._reconcile = catalogue, chores, clock, reconcile
        self._seen: dict[str, AliasState] = {}
        self._kept: dict[str, VersionId] = {}

    def forget(self) -> None:
        """Forget what was seen: another may have led meanwhile."""
        self._seen.clear()
        self._kept.clear()

    def state(self, model: str) -> AliasState:
        """Return where a model's alias was last seen."""
        return self._seen.get(model, UNSEEN)

    def keep(self, wanted: Wanted) -> AliasState:
        """See where the alias points, every few seconds or at once when it should move, and move it."""
        model = wanted.version.model
        seen, key = self.state(model), ("alias", model)
        is_new = self._kept.get(model) != wanted.version
        age_s = self._chores.age_s(key)
        if age_s is not None and (age_s >= POLL_S or (is_new and seen.error is None and seen.target != wanted.version)):
            self._chores.forget(key)
        outcome: Outcome | None = self._chores.ask(key, lambda: self._bring(wanted, was_kept=not is_new))
        if outcome is not None:
            seen = AliasState(seen.target, seen.known, error=outcome.error) if outcome.error else outcome.value
            self._seen[model] = seen
            if seen.known and seen.target == wanted.version:
                self._kept[model] = wanted.version
        return seen

    def _bring(self, wanted: Wanted, *, was_kept: bool) -> AliasState:
        """Point both aliases where they should, each whether or not the other was moved just now."""
        seen = self._bring_champion(wanted, was_kept=was_kept)
        if seen.target == wanted.version:
            self._bring_previous(wanted)
        return seen

    def _bring_champion(self, wanted: Wanted, *, was_kept: bool) -> AliasState:
        """Point the alias where it should, unless somebody else moved it and the service leaves that to people."""
        version, lenient = wanted.version, wanted.policy is not AliasPolicy.REVERT and not wanted.insist
        before = self._target(version.model, CHAMPION)
        if before == version or not wanted.may_act():
            return AliasState(before)
        if was_kept and lenient:
            return AliasState(before, stray=True, found=before)
        try:
            self._move(version, wanted)
        except Conflict:
            if lenient or self._reconcile is None:
                return AliasState(before, stray=True, found=before)
            self._reconcile(version.model, CHAMPION, "revert", actor=wanted.actor, reason="moved outside Roost")
            self._move(version, wanted)
            return AliasState(version, stray=True, found=before)
        return AliasState(version, stray=was_kept, found=before if was_kept else None)

    def _bring_previous(self, wanted: Wanted) -> None:
        """Let ``previous`` name the champion before; nobody is served from it, so one moved by hand stays."""
        previous = wanted.previous
        if previous is None or previous == self._target(previous.model, PREVIOUS) or not wanted.may_act():
            return
        if wanted.may_follow(previous):
            with suppress(Conflict, NotFound):
                self._catalogue.move_alias(previous, PREVIOUS, actor=wanted.actor, reason=f"{wanted.version} took over")

    def _move(self, version: VersionId, wanted: Wanted) -> None:
        self._catalogue.move_alias(version, CHAMPION, actor=wanted.actor, reason=wanted.reason)

    def _target(self, model: str, alias: str) -> VersionId | None:
        try:
            return self._catalogue.get(VersionRef(model, alias=alias)).id
        except NotFound:
            return None

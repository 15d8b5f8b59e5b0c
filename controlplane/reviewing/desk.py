"""The desk: what is put before which rater, blind and in random order, until enough is known."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contracts.clock import Clock
from contracts.errors import InvalidInput, NotFound, RoostError
from contracts.rng import Rng
from controlplane.store.reviews import ReviewStore, Shown
from evaluation.review.items import (
    GOLD_SHARE,
    PLANTED_SHARE,
    REPEAT_SHARE,
    Choice,
    Item,
    Judgement,
    Kind,
    Origin,
)
from evaluation.review.pictures import neutral_png, spoil
from evaluation.review.port import PairedEvidence
from evaluation.review.summary import differences

ALPHA = 0.05
REPEAT_AFTER = 10
SIDES = {"left", "right", "tie", "cannot"}


@dataclass(frozen=True, slots=True)
class Output:
    """One version's picture."""

    version: str
    image: bytes


class ReviewDesk:
    """Puts items into the queue, chooses the next one for a rater, and takes answers."""

    def __init__(self, store: ReviewStore, evidence: PairedEvidence, clock: Clock, rng: Rng) -> None:
        self._store, self._evidence, self._clock, self._rng = store, evidence, clock, rng

    def add_pair(self, prompt: str, first: Output, second: Output, *, seed: int = 0, needed: int = 1) -> int:
        """Put a pair into the queue, and now and then a check beside it; return how many items that were.

        About one in twenty brings the same picture twice (gold), one in twenty a spoilt one (planted).

        Raises:
            InvalidInput: when a picture can't be decoded, or both are of one version.
        """
        if first.version == second.version:
            raise InvalidInput(f"pair: both outputs are of {first.version}", hint="compare two versions")
        images = neutral_png(first.image, "first"), neutral_png(second.image, "second")
        names = (first.version, second.version)
        self._add(Kind.PAIR, Origin.WANTED, prompt, names, images, seed=seed, needed=needed)
        added = 1
        if self._rng.uniform() < GOLD_SHARE:
            self._add(Kind.PAIR, Origin.GOLD, prompt, names, (images[0], images[0]), expected=Choice.TIE)
            added += 1
        if self._rng.uniform() < PLANTED_SHARE:
            planted = (images[0], spoil(images[0]))
            self._add(Kind.PAIR, Origin.PLANTED, prompt, names, planted, expected=Choice.FIRST)
            added += 1
        return added

    def add_flagged(self, prompt: str, output: Output, reason: str, *, seed: int = 0, needed: int = 1) -> None:
        """Put a flagged output into the queue.

        Raises:
            InvalidInput: when the picture can't be decoded.
        """
        image = neutral_png(output.image, "image")
        names = (output.version, "")
        self._add(Kind.FLAGGED, Origin.WANTED, prompt, names, (image, None), seed=seed, reason=reason, needed=needed)

    def next(self, rater: str) -> Shown | None:
        """Return what the rater is to judge now: what is still open, else a new item; None when nothing is left."""
        waiting = self._store.waiting(rater)
        if waiting is not None:
            return waiting
        mine = self._store.judged_by(rater)
        seen = {item_id for item_id, _, _ in mine}
        counts, decided = self._store.counts(), self._decided()
        items = self._store.items()
        fresh = [
            item
            for item in items
            if item.item_id not in seen
            and (item.origin is not Origin.WANTED or counts.get(item.item_id, 0) < item.needed)
            and (item.first_version, item.second_version) not in decided
        ]
        if not any(item.origin is Origin.WANTED for item in fresh):
            return None
        shown = self._again(rater, mine, items) or self._fresh(rater, fresh)
        self._store.show(shown)
        return self._store.waiting(rater)

    def answer(self, rater: str, item_id: str, side: str, *, reasons: Sequence[str] = (), note: str = "") -> Judgement:
        """Take a rater's answer by side: ``left``, ``right``, ``tie`` or ``cannot``.

        Raises:
            NotFound: when this item isn't before the rater.
            InvalidInput: when it is no such answer.
            Conflict: when it was given already.
        """
        shown = self._store.waiting(rater)
        if shown is None or shown.item.item_id != item_id:
            raise NotFound("this item is not before you", hint="reload the page")
        if side not in SIDES or (side == "tie" and shown.item.kind is Kind.FLAGGED):
            raise InvalidInput(f"choice: {side!r} is no answer", hint="left, right, tie or cannot")
        choice = {
            "left": Choice.FIRST if shown.first_is_left else Choice.SECOND,
            "right": Choice.SECOND if shown.first_is_left else Choice.FIRST,
            "tie": Choice.TIE,
            "cannot": Choice.CANNOT,
        }[side]
        return self._store.submit(shown, choice, reasons=reasons, note=note, at_s=self._clock.now_s())

    def picture(self, rater: str, item_id: str, *, left: bool) -> bytes:
        """Return a picture of the item that is before the rater.

        Raises:
            NotFound: when it isn't.
        """
        shown = self._store.waiting(rater)
        if shown is None or shown.item.item_id != item_id:
            raise NotFound("this item is not before you", hint="reload the page")
        return self._store.image(item_id, first=left == shown.first_is_left)

    def count_judged(self, rater: str) -> int:
        """Return how many judgements a rater has given."""
        return len(self._store.judged_by(rater))

    def _decided(self) -> set[tuple[str, str]]:
        """Return the pairs of versions on which the evidence has crossed: nobody need judge them any more."""
        found: dict[tuple[str, str], list[Judgement]] = {}
        for judgement in self._store.judgements():
            item = judgement.item
            if item.origin is Origin.WANTED and item.kind is Kind.PAIR and judgement.round == 1:
                found.setdefault((item.first_version, item.second_version), []).append(judgement)
        return {names for names, mine in found.items() if self._evidence.value(differences(mine)) >= 1 / ALPHA}

    def _fresh(self, rater: str, items: Sequence[Item]) -> Shown:
        item = items[self._rng.integer(len(items))]
        left = item.kind is Kind.FLAGGED or self._rng.uniform() < 0.5
        return Shown(item, rater, 1, left, self._clock.now_s())

    def _again(self, rater: str, mine: Sequence[tuple[str, int, bool]], items: Sequence[Item]) -> Shown | None:
        """Return, now and then, an item that was judged long enough ago, with its sides exchanged."""
        if len(mine) < REPEAT_AFTER or self._rng.uniform() >= REPEAT_SHARE:
            return None
        twice = {item_id for item_id, number, _ in mine if number > 1}
        pairs = {item.item_id: item for item in items if item.kind is Kind.PAIR and item.origin is Origin.WANTED}
        old = [row for row in mine[:-REPEAT_AFTER] if row[0] in pairs and row[0] not in twice]
        if not old:
            return None
        item_id, _, first_was_left = old[self._rng.integer(len(old))]
        return Shown(pairs[item_id], rater, 2, not first_was_left, self._clock.now_s())

    def _add(
        self,
        kind: Kind,
        origin: Origin,
        prompt: str,
        names: tuple[str, str],
        images: tuple[bytes, bytes | None],
        **more: Any,
    ) -> None:
        """Add one item under an id that tells nothing."""
        item = Item(self._rng.token(12), kind, origin, prompt, *names, **more)
        self._store.add(item, images, self._clock.now_s())


@dataclass(frozen=True, slots=True)
class Loading:
    """What came of a file of pairs."""

    added: int
    problems: tuple[str, ...]


def add_file(desk: ReviewDesk, path: Path, *, needed: int = 1) -> Loading:
    """Add the pairs and flagged outputs of a JSON-lines file; what can't be used is told, the rest is added.

    A pair: ``{"prompt", "seed", "first": {"version", "image"}, "second": {...}}``; a flagged output: ``{"prompt",
    "image", "version", "reason"}``. Images are paths beside the file, and never leave its folder.

    Raises:
        NotFound: when there is no such file.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="give a .jsonl file of pairs")
    added, problems = 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            added += _add_row(desk, json.loads(line), path.parent, needed)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RoostError) as error:
            why = error.message if isinstance(error, RoostError) else f"{type(error).__name__}: {error}"
            problems.append(f"{path.name}, line {number}: left out, {why}")
    return Loading(added, tuple(problems))


def _add_row(desk: ReviewDesk, row: dict[str, Any], folder: Path, needed: int) -> int:
    prompt, seed = str(row["prompt"]), int(row.get("seed", 0))
    if "first" in row:
        first, second = (
            Output(str(row[side]["version"]), _read(folder, str(row[side]["image"]))) for side in ("first", "second")
        )
        return desk.add_pair(prompt, first, second, seed=seed, needed=needed)
    output = Output(str(row["version"]), _read(folder, str(row["image"])))
    desk.add_flagged(prompt, output, str(row.get("reason", "")), seed=seed, needed=needed)
    return 1


def _read(folder: Path, name: str) -> bytes:
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise InvalidInput(f"image: {name} lies outside of the file's folder", hint="put the images beside the file")
    return path.read_bytes()


def export_lines(judgements: Sequence[Judgement]) -> list[str]:
    """Return every judgement as one line of JSON, with the side and the versions."""
    return [json.dumps(asdict(judgement), ensure_ascii=False) for judgement in judgements]

"""The review queue: items, who was shown what on which side, and what they answered."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError as DuplicateRow

from contracts.errors import Conflict, InvalidInput, NotFound
from controlplane.store.telemetry_database import open_database, reading, upsert
from evaluation.review.items import REASONS, Choice, Item, Judgement, Kind, Origin

SCHEMA = MetaData()
ITEMS = Table(
    "review_items",
    SCHEMA,
    Column("item_id", String(64), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("origin", String(20), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("first_version", String(120), nullable=False),
    Column("second_version", String(120), nullable=False),
    Column("expected", String(20)),
    Column("reason", Text, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("first_image", LargeBinary, nullable=False),
    Column("second_image", LargeBinary),
)
SHOWN = Table(
    "review_shown",
    SCHEMA,
    Column("item_id", String(64), ForeignKey("review_items.item_id"), primary_key=True),
    Column("rater", String(100), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("first_is_left", Boolean, nullable=False),
    Column("at_s", Float, nullable=False),
)
JUDGEMENTS = Table(
    "review_judgements",
    SCHEMA,
    Column("item_id", String(64), ForeignKey("review_items.item_id"), primary_key=True),
    Column("rater", String(100), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("choice", String(20), nullable=False),
    Column("reasons", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("at_s", Float, nullable=False),
)
ITEM_COLUMNS = [column for column in ITEMS.c if column.name not in {"first_image", "second_image", "at_s"}]


@dataclass(frozen=True, slots=True)
class Shown:
    """An item as one rater sees it."""

    item: Item
    rater: str
    round: int
    first_is_left: bool
    at_s: float


class ReviewStore:
    """Items and judgements in one database; several processes may share it.

    It is opened at its first use, and so a home where nothing is to be judged has none.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def engine(self) -> Engine:
        """The open database.

        Raises:
            InvalidInput: when the address can't be used.
            Unavailable: when nobody answers there.
        """
        return open_database(self._url, SCHEMA)

    def close(self) -> None:
        """Let go of the database."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    def add(self, item: Item, images: tuple[bytes, bytes | None], at_s: float) -> None:
        """Put an item into the queue; the same id twice is one item."""
        row: dict[str, Any] = {name: getattr(item, name) for name in Item.__slots__}
        row |= {"kind": item.kind.value, "origin": item.origin.value, "at_s": at_s}
        row |= {"expected": item.expected.value if item.expected else None}
        with self.engine.begin() as connection:
            upsert(connection, ITEMS, [{**row, "first_image": images[0], "second_image": images[1]}])

    def items(self) -> list[Item]:
        """Return all items, in the order in which they were added."""
        with reading(self.engine) as connection:
            rows = connection.execute(select(*ITEM_COLUMNS).order_by(ITEMS.c.at_s, ITEMS.c.item_id)).mappings()
            return [_item(row) for row in rows]

    def waiting(self, rater: str) -> Shown | None:
        """Return what was shown to a rater and not answered yet."""
        unanswered = (
            select(*ITEM_COLUMNS, SHOWN.c.round, SHOWN.c.first_is_left, SHOWN.c.at_s.label("shown_s"))
            .join(SHOWN, SHOWN.c.item_id == ITEMS.c.item_id)
            .outerjoin(JUDGEMENTS, _same(SHOWN, JUDGEMENTS))
            .where(SHOWN.c.rater == rater, JUDGEMENTS.c.item_id.is_(None))
        )
        with reading(self.engine) as connection:
            row = connection.execute(unanswered.order_by(SHOWN.c.at_s).limit(1)).mappings().first()
        return None if row is None else Shown(_item(row), rater, row["round"], row["first_is_left"], row["shown_s"])

    def show(self, shown: Shown) -> None:
        """Note that an item is shown to a rater, and on which side the first output is."""
        row = {"item_id": shown.item.item_id, "rater": shown.rater, "round": shown.round}
        with self.engine.begin() as connection:
            upsert(connection, SHOWN, [{**row, "first_is_left": shown.first_is_left, "at_s": shown.at_s}])

    def image(self, item_id: str, *, first: bool) -> bytes:
        """Return one of an item's pictures.

        Raises:
            NotFound: when there is none.
        """
        column = ITEMS.c.first_image if first else ITEMS.c.second_image
        with reading(self.engine) as connection:
            found = connection.execute(select(column).where(ITEMS.c.item_id == item_id)).scalar()
        if found is None:
            raise NotFound("there is no such picture", hint="")
        return bytes(found)

    def submit(
        self, shown: Shown, choice: Choice, *, reasons: Sequence[str] = (), note: str = "", at_s: float
    ) -> Judgement:
        """Write down one answer; it can't be changed.

        Raises:
            InvalidInput: when a reason isn't one of those to choose from.
            Conflict: when the rater has answered already.
        """
        unknown = sorted(set(reasons) - set(REASONS))
        if unknown:
            raise InvalidInput(f"reasons: {unknown[0]!r} is none of {', '.join(REASONS)}")
        seconds = max(at_s - shown.at_s, 0.0)
        key = {"item_id": shown.item.item_id, "rater": shown.rater, "round": shown.round}
        row = {**key, "choice": choice.value, "reasons": json.dumps(sorted(set(reasons))), "note": note[:500]}
        try:
            with self.engine.begin() as connection:
                connection.execute(insert(JUDGEMENTS), [{**row, "seconds": seconds, "at_s": at_s}])
        except DuplicateRow:
            raise Conflict("this was judged already", hint="go on with the next one") from None
        return Judgement(shown.item, shown.rater, shown.round, choice, shown.first_is_left, seconds, at_s,
                         tuple(sorted(set(reasons))), note[:500])  # fmt: skip

    def judgements(self, *, start_s: float = 0.0, end_s: float = 1e18) -> list[Judgement]:
        """Return answers in the order of time."""
        answered = (JUDGEMENTS.c.at_s >= start_s) & (JUDGEMENTS.c.at_s < end_s)
        columns = [JUDGEMENTS.c[name] for name in ("rater", "round", "choice", "reasons", "note", "seconds")]
        query = (
            select(
                *ITEM_COLUMNS[:8], ITEMS.c.reason, ITEMS.c.needed, *columns, JUDGEMENTS.c.at_s, SHOWN.c.first_is_left
            )
            .join(JUDGEMENTS, JUDGEMENTS.c.item_id == ITEMS.c.item_id)
            .join(SHOWN, _same(SHOWN, JUDGEMENTS))
            .where(answered)
            .order_by(JUDGEMENTS.c.at_s)
        )
        with reading(self.engine) as connection:
            return [
                Judgement(_item(row), row["rater"], row["round"], Choice(row["choice"]), row["first_is_left"],
                          row["seconds"], row["at_s"], tuple(json.loads(row["reasons"])), row["note"])
                for row in connection.execute(query).mappings()
            ]  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Return how many first-round judgements each item has."""
        query = select(JUDGEMENTS.c.item_id, func.count()).where(JUDGEMENTS.c.round == 1).group_by(JUDGEMENTS.c.item_id)
        with reading(self.engine) as connection:
            return {str(item_id): int(number) for item_id, number in connection.execute(query)}

    def judged_by(self, rater: str) -> list[tuple[str, int, bool]]:
        """Return (item, round, whether the first was left) of what a rater has answered, oldest first."""
        query = (
            select(JUDGEMENTS.c.item_id, JUDGEMENTS.c.round, SHOWN.c.first_is_left)
            .join(SHOWN, _same(SHOWN, JUDGEMENTS))
            .where(JUDGEMENTS.c.rater == rater)
            .order_by(JUDGEMENTS.c.at_s)
        )
        with reading(self.engine) as connection:
            return [(str(item), int(number), bool(left)) for item, number, left in connection.execute(query)]


def _same(one: Table, other: Table) -> Any:
    return (one.c.item_id == other.c.item_id) & (one.c.rater == other.c.rater) & (one.c.round == other.c.round)


def _item(row: Any) -> Item:
    return Item(
        item_id=row["item_id"],
        kind=Kind(row["kind"]),
        origin=Origin(row["origin"]),
        prompt=row["prompt"],
        first_version=row["first_version"],
        second_version=row["second_version"],
        expected=Choice(row["expected"]) if row["expected"] else None,
        seed=row["seed"],
        reason=row["reason"],
        needed=row["needed"],
    )

"""Wishes: what people asked of rollouts, kept until the leader has met or refused them."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import WISHES
from rollout.phases import ManualAction, ManualKind


@dataclass(frozen=True, slots=True)
class Wish:
    """One manual action on one rollout; ``met_s`` is None until the leader took it, ``refusal`` why it was not done."""

    sequence: int
    rollout: str
    action: ManualAction
    asked_s: float
    met_s: float | None
    refusal: str


class Wishes:
    """The wishes of one database."""

    def __init__(self, database: Database) -> None:
        self._database, self._audit = database, Audit(database)

    def ask(self, connection: Connection, rollout: str, action: ManualAction) -> Wish:
        """Write a wish and its audit record down; the caller has checked that it may be asked."""
        at_s = self._database.now_s(connection)
        told = {"actor": action.actor, "reason": action.reason}
        row = {"rollout": rollout, "kind": action.kind.value, "gates": json.dumps(action.gates), "asked_s": at_s}
        made = insert(WISHES).values(**row, **told, fence=0, refusal="").returning(WISHES.c.sequence)
        sequence = int(connection.execute(made).scalar_one())
        self._audit.write(
            connection,
            action=f"rollout.{action.kind.value}",
            subject=f"rollout/{rollout}",
            detail={"gates": list(action.gates), "wish": sequence},
            **told,
        )
        return Wish(sequence, rollout, action, at_s, None, "")

    def open(self) -> dict[str, list[Wish]]:
        """Return the wishes that nobody has taken yet, by rollout, each in the order they were asked."""
        found: dict[str, list[Wish]] = {}
        waiting = select(WISHES).where(WISHES.c.met_s.is_(None)).order_by(WISHES.c.sequence)
        with self._database.read() as connection:
            for row in connection.execute(waiting):
                found.setdefault(row.rollout, []).append(_read(row))
        return found

    def of_rollout(self, rollout: str) -> list[Wish]:
        """Return everything that was asked of a rollout, in its order."""
        mine = select(WISHES).where(WISHES.c.rollout == rollout).order_by(WISHES.c.sequence)
        with self._database.read() as connection:
            return [_read(row) for row in connection.execute(mine)]

    def close(self, connection: Connection, refusals: dict[int, str], *, fence: int) -> None:
        """Mark wishes as taken, in the transaction of the step that took them: number to refusal, "" for done."""
        if not refusals:
            return
        at_s = self._database.now_s(connection)
        taken = update(WISHES).where(WISHES.c.sequence == bindparam("the_number"), WISHES.c.met_s.is_(None))
        rows = [
            {"the_number": number, "met_s": at_s, "fence": fence, "refusal": why} for number, why in refusals.items()
        ]
        connection.execute(taken, rows)


def _read(row: Row[Any]) -> Wish:
    gates = tuple(json.loads(row.gates))
    action = ManualAction(ManualKind(row.kind), row.actor, row.reason, gates)
    return Wish(row.sequence, row.rollout, action, row.asked_s, row.met_s, row.refusal)

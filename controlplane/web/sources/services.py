"""What was asked for: each service's spec and who applied it, who started which rollout, which objectives are silent.

Read from the database; specs otherwise from the telemetry that was recorded under them.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RoostError
from contracts.specs.service import ServiceSpec
from controlplane.store.database import Database
from controlplane.store.schema import ROLLOUTS
from controlplane.store.services import Services
from controlplane.store.silences import Silence, Silences
from controlplane.web.sources.telemetry import Telemetry

FRESH_S = 3.0


@dataclass(frozen=True)
class Asked:
    """The newest specs by service, who applied them, who started each rollout, and the silences that hold."""

    specs: dict[str, ServiceSpec] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    starters: dict[str, str] = field(default_factory=dict)
    silences: Mapping[tuple[str, str], Silence] = field(default_factory=dict)


class Specs:
    """Reads when somebody asks, and no more often than every three seconds."""

    def __init__(self, open_: Callable[[], Database | None], telemetry: Telemetry) -> None:
        self._open, self._telemetry = open_, telemetry
        self._lock = asyncio.Lock()
        self._asked = Asked()
        self._fresh_until_s = 0.0

    async def known(self) -> dict[str, ServiceSpec]:
        """Return the specs that are known."""
        return (await self.asked()).specs

    async def asked(self) -> Asked:
        """Return what people asked for."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                recorded = await self._telemetry.read()
                specs = {spec.service: spec for spec in recorded.specs} if recorded is not None else {}
                asked = await asyncio.to_thread(self._read)
                self._asked = replace(asked, specs={**specs, **asked.specs})
                self._fresh_until_s = time.monotonic() + FRESH_S
        return self._asked

    def _read(self) -> Asked:
        database = self._open()
        if database is None:
            return Asked()
        services = Services(database)
        try:
            newest = [services.get(name) for name in services.names()]
            with database.read() as connection:
                rows = connection.execute(select(ROLLOUTS.c.id, ROLLOUTS.c.actor)).all()
            silences = Silences(database).active()
        except (RoostError, SQLAlchemyError):
            return Asked()  # made by a release that kept none of this in it
        return Asked(
            {one.service: one.spec for one in newest},
            {one.service: one.actor for one in newest},
            {row.id: row.actor for row in rows},
            silences,
        )

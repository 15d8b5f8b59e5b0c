"""Which spec each service has: the one applied last in the database, else the one that telemetry was recorded under."""

import asyncio
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RoostError
from contracts.specs.service import ServiceSpec
from controlplane.store.database import Database
from controlplane.store.services import Services
from controlplane.web.sources.telemetry import Telemetry

FRESH_S = 3.0


class Specs:
    """The services' newest specs by name, read when somebody asks and no more often than every three seconds."""

    def __init__(self, open_: Callable[[], Database | None], telemetry: Telemetry) -> None:
        self._open, self._telemetry = open_, telemetry
        self._lock = asyncio.Lock()
        self._known: dict[str, ServiceSpec] = {}
        self._fresh_until_s = 0.0

    async def known(self) -> dict[str, ServiceSpec]:
        """Return the specs that are known."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until_s:
                recorded = await self._telemetry.read()
                specs = {spec.service: spec for spec in recorded.specs} if recorded is not None else {}
                self._known = {**specs, **await asyncio.to_thread(self._read)}
                self._fresh_until_s = time.monotonic() + FRESH_S
        return self._known

    def _read(self) -> dict[str, ServiceSpec]:
        database = self._open()
        if database is None:
            return {}
        services = Services(database)
        try:
            return {name: services.get(name).spec for name in services.names()}
        except (RoostError, SQLAlchemyError):
            return {}  # made by a release that kept no services in it

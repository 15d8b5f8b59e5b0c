"""An outbox with its sender under a virtual clock, for the tests of notifications."""

from pathlib import Path
from typing import Any

from contracts.clock import FakeClock
from contracts.events import Event
from controlplane.notify.sender import Sender
from controlplane.notify.settings import NotifySettings
from controlplane.store.database import Database
from controlplane.store.migrate import open_store
from controlplane.store.outbox import Outbox
from controlplane.telling import tell

HERE = {"networks": ["127.0.0.0/8"]}
GROUP_S = 10.0


class Desk:
    """An outbox under a virtual clock, and a sender; ``restart`` makes another sender, as a new process does."""

    def __init__(self, url: str, home: Path, **settings: Any) -> None:
        self.clock = FakeClock()
        self.database: Database = open_store(url, self.clock)
        self.outbox = Outbox(self.database)
        routes = [{"codes": ["*"], "to": list(settings.get("channels", {}))}]
        document = {"egress": HERE, "routes": routes, "group": GROUP_S, **settings}
        self.settings, self._home = NotifySettings.model_validate(document), home
        self.restart()

    def restart(self) -> None:
        self.sender = Sender(self.outbox, self.settings, self._home, self.clock)

    def tell(self, code: str, message: str = "a sentence", *, rollout: str = "tags-2-a", key: str = "") -> bool:
        event = Event(
            code=code,
            at_s=self.clock.now_s(),
            subject=f"rollout/{rollout}",
            message=message,
            data={"service": "tags", "weight": 0.1},
        )
        with self.database.write() as connection:
            return tell(self.outbox, connection, event, key or f"{rollout}:{code}:{message}")

    def step(self, after_s: float = 0.0) -> int:
        self.clock.advance(after_s)
        return self.sender.step()

    def deliver(self) -> int:
        """Let the sender see what is there, and again when it is due."""
        return self.step() + self.step(GROUP_S)


def problem(desk: Desk) -> str:
    """Return what the outbox keeps of the last try."""
    with desk.database.read() as connection:
        found = connection.exec_driver_sql("SELECT error FROM outbox WHERE topic LIKE 'to/%' ORDER BY sequence DESC")
        return str(found.first()[0])  # type: ignore[index]

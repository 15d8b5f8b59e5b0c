"""Silences: messages stop and nothing else; until their time or until somebody ends them; who asked stays known."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.clock import FakeClock
from contracts.errors import InvalidInput, NotFound
from contracts.events import Event
from controlplane.desks.silencing import SilenceDesk
from controlplane.notify.sender import Sender
from controlplane.notify.settings import NotifySettings
from controlplane.store.migrate import open_store
from controlplane.store.outbox import TO
from controlplane.stores import Stores
from controlplane.telling import tell
from tests.web.writer import load_spec

CHANNEL = {"webhook": {"url": "http://127.0.0.1:9/", "secret": {"env": "NOT_READ_HERE"}}}
SETTINGS = {"channels": {"programs": CHANNEL}, "routes": [{"codes": ["*"], "to": ["programs"]}]}
WHY = {"actor": "eva", "reason": "a known outage"}


class Office:
    """Stores with one service, and a sender that passes its events on to one channel."""

    def __init__(self, url: str) -> None:
        self.clock = FakeClock()
        self.stores = Stores.on(open_store(url, self.clock), b"k" * 32, self.clock)
        self.stores.services.apply(load_spec(), actor="eva", reason="first", expected=None)
        self.desk = SilenceDesk(self.stores)
        settings = NotifySettings.model_validate(SETTINGS)
        self.sender = Sender(self.stores.outbox, settings, Path(), self.clock, self.desk.is_silenced)
        self._told = 0

    def letters(self, code: str, objective: str = "availability") -> int:
        """Tell of an event; return how many letters it became."""
        self._told += 1
        data: dict[str, str | int | float | bool | None] = {"service": "tags", "objective": objective}
        event = Event(code=code, at_s=self.clock.now_s(), subject="service/tags", message="it burns", data=data)
        with self.stores.database.write() as connection:
            tell(self.stores.outbox, connection, event, f"{self._told}")
        self.sender.step()
        self.clock.advance(60)
        waiting = self.stores.outbox.take(at_most=100, addressed=True)
        for letter in waiting:
            self.stores.outbox.mark_sent(letter)
        assert all(letter.topic.startswith(TO) for letter in waiting)
        return len(waiting)


@pytest.fixture
def office(database_url: str) -> Iterator[Office]:
    made = Office(database_url)
    yield made
    made.stores.close()


def test_nobody_is_told_how_a_silenced_objective_burns_until_its_time(office: Office) -> None:
    assert office.letters("burn.page") == 1
    office.desk.silence("tags", "availability", until_s=office.clock.now_s() + 3600, **WHY)
    assert [office.letters(code) for code in ("burn.page", "burn.ticket", "burn.over")] == [0, 0, 0]
    assert office.letters("burn.page", "text") == 1, "another objective is not silenced"
    assert office.letters("watch.harm-proven") == 1, "proven harm is told in any case"
    office.clock.advance(3600)
    assert office.letters("burn.page") == 1


def test_a_silence_is_lifted_and_both_are_written_down(office: Office) -> None:
    made = office.desk.silence("tags", "availability", until_s=office.clock.now_s() + 3600, **WHY)
    lifted = office.desk.lift(made.id, actor="bob", reason="it is over")
    assert lifted.lifted_s is not None
    assert office.desk.lift(made.id, actor="ann", reason="again").lifted_s == lifted.lifted_s
    assert office.letters("burn.page") == 1
    told = [(one.action, one.actor, one.reason) for one in office.stores.audit.changes("service/tags")]
    assert told[-2:] == [("silence.begin", "eva", "a known outage"), ("silence.lift", "bob", "it is over")]


def test_what_could_never_hold_is_refused(office: Office) -> None:
    with pytest.raises(InvalidInput, match="end before it begins"):
        office.desk.silence("tags", "availability", until_s=office.clock.now_s(), **WHY)
    with pytest.raises(NotFound, match="no objective or monitor speed"):
        office.desk.silence("tags", "speed", until_s=office.clock.now_s() + 60, **WHY)
    with pytest.raises(NotFound, match="no silence"):
        office.desk.lift("0" * 12, **WHY)
    with pytest.raises(InvalidInput, match="reason"):
        office.desk.silence("tags", "availability", until_s=office.clock.now_s() + 60, actor="eva", reason=" ")
    assert office.stores.silences.of_service("tags") == []

"""Notifications to real receivers: signed, grouped, tried again with the same key, and never where they may not go."""

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from contracts.events import Event
from controlplane.store.outbox import FIRST_WAIT_S, MOST_ATTEMPTS, MOST_EVENTS
from controlplane.telling import tell
from tests.controlplane.notify_desk import GROUP_S, Desk, problem
from tests.controlplane.receivers import (
    WebReceiver,
    answer,
    web_receiver,
)
from tests.prepared import prepare_store

SECRET = "a secret that is long enough"


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as found:
        yield found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return prepare_store(tmp_path / "roost.db")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


def webhook(receiver: WebReceiver) -> dict[str, Any]:
    address = f"http://127.0.0.1:{receiver.port}/told?token=t0psecret"
    return {"programs": {"webhook": {"url": address, "secret": {"env": "HOOK_SECRET"}}}}


@pytest.fixture
def desk(url: str, tmp_path: Path, receiver: WebReceiver) -> Iterator[Desk]:
    found = Desk(url, tmp_path, channels=webhook(receiver))
    yield found
    found.database.close()


@pytest.fixture
def either_desk(database_url: str, tmp_path: Path, receiver: WebReceiver) -> Iterator[Desk]:
    found = Desk(database_url, tmp_path, channels=webhook(receiver))
    yield found
    found.database.close()


def codes(call: Any) -> list[str]:
    return [event["code"] for event in json.loads(call.body)["events"]]


def test_events_of_one_rollout_that_come_close_together_are_one_signed_message(
    either_desk: Desk, receiver: WebReceiver
) -> None:
    desk = either_desk
    assert desk.tell("gate.harm-proven", "m@2 fails 9 % of requests")
    desk.step()
    desk.clock.advance(3)
    desk.tell("rollout.rolled-back")
    desk.tell("rollout.promoted", rollout="other-3-b")
    assert desk.step() == 0, "they wait for more of the same rollout"
    assert desk.step(GROUP_S) == 2
    assert sorted(codes(call) for call in receiver.calls) == [
        ["gate.harm-proven", "rollout.rolled-back"],
        ["rollout.promoted"],
    ]
    for call in receiver.calls:
        expected = hmac.new(
            SECRET.encode(), f"{call.headers['x-roost-timestamp']}.{call.body}".encode(), hashlib.sha256
        )
        assert call.headers["x-roost-signature"] == f"v1={expected.hexdigest()}"
    assert len({call.headers["idempotency-key"] for call in receiver.calls}) == 2
    assert desk.step(60) == 0, "what was sent stays sent"
    desk.tell("manual.paused")
    assert desk.deliver() == 1
    assert codes(receiver.calls[2]) == ["manual.paused"], "what comes later is a message of its own"


def test_the_same_event_is_told_once(desk: Desk, receiver: WebReceiver) -> None:
    assert desk.tell("rollout.rolled-back", key="k")
    assert not desk.tell("rollout.rolled-back", key="k")
    desk.deliver()
    assert not desk.tell("rollout.rolled-back", key="k")
    desk.deliver()
    assert len(receiver.calls) == 1


def test_an_undone_transaction_tells_nobody(desk: Desk, receiver: WebReceiver) -> None:
    event = Event(code="rollout.promoted", at_s=0.0, subject="rollout/x", message="m")
    with suppress(RuntimeError), desk.database.write() as connection:
        tell(desk.outbox, connection, event, "k")
        raise RuntimeError
    assert desk.deliver() == 0
    assert receiver.calls == []


def test_a_failing_receiver_is_tried_again_with_the_same_key_and_the_same_words(
    either_desk: Desk, receiver: WebReceiver
) -> None:
    desk = either_desk
    receiver.answers = [500, 302]
    desk.tell("rollout.rolled-back", "the first")
    assert desk.deliver() == 0
    backlog = desk.outbox.backlog()
    assert (backlog.waiting, backlog.given_up) == (1, 0)
    assert backlog.oldest_s == GROUP_S
    desk.tell("rollout.failed", "another, meanwhile")
    assert desk.step(FIRST_WAIT_S) == 0
    desk.restart()
    assert desk.step(60) == 2
    assert desk.step(3600) == 0
    first = [call for call in receiver.calls if codes(call) == ["rollout.rolled-back"]]
    assert [call.path for call in receiver.calls] == ["/told?token=t0psecret"] * 4, "redirects are not followed"
    assert len(first) == 3
    assert len({call.headers["idempotency-key"] for call in first}) == 1
    assert len({call.body for call in first}) == 1


def test_a_receiver_that_is_away_is_not_tried_for_each_message(desk: Desk, receiver: WebReceiver) -> None:
    receiver.answers = [500]
    for number in range(5):
        desk.tell("rollout.rolled-back", rollout=f"tags-{number}-a")
    assert desk.deliver() == 0
    assert len(receiver.calls) == 1
    assert desk.step(60) == 5


def test_a_sender_that_dies_after_sending_is_followed_by_one_that_sends_the_same_again(
    either_desk: Desk, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = either_desk
    desk.tell("rollout.rolled-back")
    desk.step()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(desk.outbox, "mark_sent", die)
        with pytest.raises(KeyboardInterrupt):
            desk.step(GROUP_S)
    assert len(receiver.calls) == 1
    desk.tell("rollout.aborted")
    desk.restart()
    assert desk.step() == 0, "it is still lent to the one that died"
    assert desk.step(3600) == 2
    again = [call for call in receiver.calls if codes(call) == ["rollout.rolled-back"]]
    assert len(again) == 2
    assert len({(call.headers["idempotency-key"], call.body) for call in again}) == 1
    assert desk.step(3600) == 0


def test_a_receiver_that_never_takes_anything_is_given_up_and_told_of(desk: Desk, receiver: WebReceiver) -> None:
    receiver.answers = [503] * 100
    desk.tell("rollout.rolled-back")
    desk.step()
    assert desk.outbox.backlog().waiting == 1
    for _ in range(MOST_ATTEMPTS + 3):
        desk.step(4000)
    assert len(receiver.calls) == MOST_ATTEMPTS
    backlog = desk.outbox.backlog()
    assert (backlog.waiting, backlog.given_up, backlog.oldest_s) == (0, 1, 0.0)


def test_many_events_are_several_messages_and_none_is_lost(desk: Desk, receiver: WebReceiver) -> None:
    for number in range(MOST_EVENTS + 5):
        desk.tell("ramp.raised", f"number {number}")
    for _ in range(4):
        desk.step(GROUP_S)
    told = [event["message"] for call in receiver.calls for event in json.loads(call.body)["events"]]
    assert told == [f"number {number}" for number in range(MOST_EVENTS + 5)]
    assert len(receiver.calls) == 2


def test_a_receiver_that_hangs_keeps_no_other_waiting(url: str, tmp_path: Path, receiver: WebReceiver) -> None:
    released, told, hangs = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        released.wait(30)

    with web_receiver() as other:
        receiver.hold = hang
        other.hold = told.set
        channels = {**webhook(receiver), "quick": webhook(other)["programs"]}
        desk = Desk(url, tmp_path, channels=channels)
        desk.tell("rollout.rolled-back")
        desk.step()
        thread = threading.Thread(target=desk.step, args=(GROUP_S,))
        thread.start()
        try:
            assert hangs.wait(30)
            assert told.wait(30)
        finally:
            released.set()
            thread.join()
            desk.database.close()


def test_routes_decide_who_is_told(url: str, tmp_path: Path, receiver: WebReceiver) -> None:
    with web_receiver() as other:
        channels = {**webhook(receiver), "people": webhook(other)["programs"]}
        routes = [
            {"codes": ["*"], "to": ["programs"]},
            {"codes": ["rollout.*", "kill.*"], "to": ["people", "programs"]},
        ]
        desk = Desk(url, tmp_path, channels=channels, routes=routes)
        for code in ("rollout.rolled-back", "hold.no-data", "kill.thrown"):
            desk.tell(code)
        desk.deliver()
        assert codes(receiver.calls[0]) == ["rollout.rolled-back", "hold.no-data", "kill.thrown"]
        assert codes(other.calls[0]) == ["rollout.rolled-back", "kill.thrown"]
        desk.database.close()


def test_nobody_is_told_without_settings_and_nothing_piles_up(url: str, tmp_path: Path) -> None:
    desk = Desk(url, tmp_path, channels={}, routes=[])
    desk.tell("rollout.rolled-back")
    with desk.database.write() as connection:
        desk.outbox.put(connection, key="strange", topic="x.y", document={"is": "no event"})
    assert desk.step() == 0
    assert desk.outbox.backlog().waiting == 1
    for _ in range(MOST_ATTEMPTS):
        desk.step(4000)
    assert [lost.key for lost in desk.outbox.given_up()] == ["strange"]
    desk.database.close()


def test_slack_gets_text_in_which_nobody_is_mentioned(
    url: str, tmp_path: Path, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLACK_URL", f"http://127.0.0.1:{receiver.port}/services/T0/B0/topsecret")
    desk = Desk(url, tmp_path, channels={"people": {"slack": {"url": {"env": "SLACK_URL"}}}})
    desk.tell("gate.harm-proven", "m@2 draws <!channel> & worse\n*things*")
    desk.deliver()
    (call,) = receiver.calls
    assert call.path == "/services/T0/B0/topsecret"
    (text,) = json.loads(call.body).values()
    assert "*tags: gate.harm-proven (rollout/tags-2-a)*" in text
    assert "m@2 draws &lt;!channel&gt; &amp; worse *things*" in text
    desk.database.close()


def test_rollouts_are_marked_where_they_begin_and_end(
    url: str, tmp_path: Path, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA", "glsa_token")
    annotations = {"url": f"http://127.0.0.1:{receiver.port}/api/annotations", "token": {"env": "GRAFANA"}}
    desk = Desk(url, tmp_path, annotations=annotations, routes=[])
    began_s = desk.clock.now_s()
    for code in ("rollout.started", "ramp.raised", "rollout.rolled-back"):
        desk.tell(code, f"all about {code}")
        desk.clock.advance(60)
    assert desk.step() == 2
    marks = [json.loads(call.body) for call in receiver.calls]
    assert [mark["time"] for mark in marks] == [round(began_s * 1000), round((began_s + 120) * 1000)]
    assert marks[0]["tags"] == ["roost", "rollout.started", "tags"]
    assert receiver.calls[0].headers["authorization"] == "Bearer glsa_token"
    desk.database.close()


def test_plain_http_stays_on_this_machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channels = {"x": {"webhook": {"url": "http://hooks.example/x", "secret": {"env": "HOOK_SECRET"}}}}
    desk = Desk(url, tmp_path, channels=channels)
    monkeypatch.setattr("controlplane.notify.egress.socket.getaddrinfo", lambda *_, **__: answer("8.8.8.8"))
    desk.tell("rollout.rolled-back")
    assert desk.deliver() == 0
    assert "may not be called" in problem(desk)
    desk.database.close()


def test_secrets_are_in_no_log_and_no_table(
    desk: Desk, receiver: WebReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500]
    desk.tell("rollout.rolled-back")
    with caplog.at_level(logging.DEBUG):
        desk.deliver()
    assert "answered 500" in caplog.text
    kept = caplog.text.encode() + b"".join(file.read_bytes() for file in tmp_path.glob("roost.db*"))
    assert SECRET.encode() not in kept
    assert b"t0psecret" not in kept


@pytest.mark.parametrize("value", ["", "too short"])
def test_a_secret_that_is_missing_or_short_sends_nothing(
    value: str, desk: Desk, receiver: WebReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", value)
    desk.tell("rollout.rolled-back")
    assert desk.deliver() == 0
    assert receiver.calls == []
    assert "secret" in problem(desk)
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    assert desk.step(60) == 1

"""Notifications to real receivers: signed, grouped, tried again with the same key, and never where they may not go."""

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest

from contracts.clock import FakeClock
from contracts.events import Event
from controlplane.notify.sender import Sender, tell
from controlplane.notify.settings import NotifySettings
from controlplane.store.database import Database
from controlplane.store.migrate import open_store
from controlplane.store.outbox import FIRST_WAIT_S, MOST_ATTEMPTS, MOST_EVENTS, Outbox
from tests.controlplane.receivers import (
    MailReceiver,
    WebReceiver,
    answer,
    mail_receiver,
    make_certificate,
    web_receiver,
)

SECRET = "a secret that is long enough"
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


@pytest.fixture
def receiver() -> Iterator[WebReceiver]:
    with web_receiver() as found:
        yield found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'roost.db'}"


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


def mail(receiver: MailReceiver, **more: Any) -> dict[str, Any]:
    values = {"host": "localhost", "port": receiver.port, "sender": "roost@example.org", "to": ["a@example.org"]}
    return {"post": {"mail": {**values, **more}}}


def test_mail_goes_over_tls_to_a_server_that_is_who_it_says(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "tls.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "mail").write_text("pa55word\n")
    for at_once, encryption in ((False, "starttls"), (True, "tls")):
        with mail_receiver(certificate, at_once=at_once) as receiver:
            login = {"user": "roost", "password": {"file": "keys/mail"}}
            desk = Desk(url, tmp_path, channels=mail(receiver, encryption=encryption, **login))
            receiver.answers = ["451 later"]
            desk.tell("rollout.rolled-back", f"harm\nBcc: x@example.org {encryption}")
            assert desk.deliver() == 0
            assert desk.step(FIRST_WAIT_S) == 1
            (post_,) = receiver.posts
            assert post_.was_encrypted
            assert post_.login == ("roost", "pa55word")
            found = message_from_string(post_.text, policy=policy.default)
            assert found["subject"] == "[roost] tags: rollout.rolled-back (rollout/tags-2-a)"
            assert found["bcc"] is None
            assert f"harm Bcc: x@example.org {encryption}" in found.get_content()
            assert found["message-id"].endswith("@example.org>")
            desk.database.close()


def test_mail_that_some_recipients_refuse_is_not_sent_to_the_others_again(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_receiver() as receiver:
        both = ["a@example.org", "unknown@example.org"]
        desk = Desk(url, tmp_path, channels=mail(receiver, encryption="none", to=both))
        desk.tell("rollout.rolled-back")
        assert desk.deliver() == 1
        assert desk.step(3600) == 0
        assert [len(post_.recipients) for post_ in receiver.posts] == [1]
        assert "1 of 2 recipients" in caplog.text
        desk.settings = NotifySettings.model_validate({
            **desk.settings.model_dump(),
            "channels": mail(receiver, encryption="none", to=["unknown@example.org"]),
        })  # fmt: skip
        desk.restart()
        desk.tell("rollout.failed")
        assert desk.deliver() == 0
        assert problem(desk) == "no answer (SMTPRecipientsRefused)"
        desk.database.close()


def problem(desk: Desk) -> str:
    """Return what the outbox keeps of the last try."""
    with desk.database.read() as connection:
        found = connection.exec_driver_sql("SELECT error FROM outbox WHERE topic LIKE 'to/%' ORDER BY sequence DESC")
        return str(found.first()[0])  # type: ignore[index]


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
def test_a_mail_server_with_a_certificate_that_nobody_trusts_gets_nothing(
    encryption: str, url: str, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path / "tls.pem")
    with mail_receiver(certificate, at_once=encryption == "tls") as receiver:
        desk = Desk(url, tmp_path, channels=mail(receiver, encryption=encryption))
        desk.tell("rollout.rolled-back")
        assert desk.deliver() == 0
        assert receiver.posts == []
        assert problem(desk) == "no answer (SSLCertVerificationError)"
        desk.database.close()


def test_a_mail_server_without_tls_gets_nothing_unless_it_is_on_this_machine_and_meant(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_receiver() as receiver:
        desk = Desk(url, tmp_path, channels=mail(receiver))
        desk.tell("rollout.rolled-back")
        assert desk.deliver() == 0
        assert receiver.posts == []
        desk.settings = NotifySettings.model_validate({
            **desk.settings.model_dump(),
            "channels": mail(receiver, encryption="none"),
        })  # fmt: skip
        desk.restart()
        assert desk.step(60) == 1
        assert not receiver.posts[0].was_encrypted
        monkeypatch.setattr("controlplane.notify.egress.socket.getaddrinfo", lambda *_, **__: answer("8.8.8.8"))
        desk.tell("rollout.failed")
        assert desk.deliver() == 0
        assert problem(desk) == "a mail server beyond this machine needs TLS"
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

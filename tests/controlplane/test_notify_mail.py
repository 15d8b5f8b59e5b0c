"""Notifications by mail, to real servers: over TLS to whom they are meant for, once, or not at all."""

from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest

from controlplane.notify.settings import NotifySettings
from controlplane.store.outbox import FIRST_WAIT_S
from tests.controlplane.notify_desk import Desk, problem
from tests.controlplane.receivers import (
    MailReceiver,
    answer,
    mail_receiver,
    make_certificate,
)
from tests.prepared import prepare_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return prepare_store(tmp_path / "roost.db")


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

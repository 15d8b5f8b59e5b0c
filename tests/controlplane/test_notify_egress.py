"""What notifications may call and what they may not, and the settings that say so."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.errors import SpecError
from controlplane.notify.egress import plain, post
from controlplane.notify.settings import Egress, NotifySettings, load_notify
from tests.controlplane.receivers import (
    answer,
    make_certificate,
    web_receiver,
)

HERE = {"networks": ["127.0.0.0/8"]}


def test_https_is_held_against_the_name_and_goes_to_the_address_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "tls.pem", "receiver.example")
    looked_up: list[str] = []

    def rebinding(host: str, *_: object, **__: object) -> list[Any]:
        """Answer with this machine's address once, and with another's from then on."""
        looked_up.append(host)
        return answer("127.0.0.1" if len(looked_up) == 1 else "10.0.0.1")

    with web_receiver(certificate) as receiver:
        monkeypatch.setattr("controlplane.notify.egress.socket.getaddrinfo", rebinding)
        reach = Egress.model_validate(HERE).may_reach
        address = f"https://receiver.example:{receiver.port}/x"
        assert post(address, b"{}", {}, reach) == "no answer (SSLCertVerificationError)", "nobody trusts it yet"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        looked_up.clear()
        assert post(address, b"{}", {}, reach) == ""
        looked_up.clear()
        assert post(address.replace("receiver.", "other."), b"{}", {}, reach) == "no answer (SSLCertVerificationError)"
        assert [call.headers["host"] for call in receiver.calls] == [f"receiver.example:{receiver.port}"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.9", "169.254.169.254", "[::1]", "[fe80::1]", "[fd00::1]",
     "0.0.0.0", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433", "0x7f.1", "224.0.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_the_internets_are_refused(host: str) -> None:
    told = post(f"https://{host}:1/x", b"{}", {}, Egress().may_reach)
    assert "may not be called" in told


def test_links_are_refused_whatever_the_settings_say_and_lists_of_hosts_hold() -> None:
    everything = Egress.model_validate({"networks": ["0.0.0.0/0", "::/0"]})
    assert "may not be called" in post("http://169.254.169.254/latest/meta-data", b"", {}, everything.may_reach)
    assert "may not be called" in post("http://[::ffff:169.254.169.254]/", b"", {}, everything.may_reach)
    some = Egress.model_validate({"hosts": ["hooks.example"], "networks": ["127.0.0.0/8"]})
    assert "may not be called" in post("https://127.0.0.1:1/", b"", {}, some.may_reach)


def test_a_name_with_one_wrong_address_among_right_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = answer("8.8.8.8", "10.0.0.7")
    monkeypatch.setattr("controlplane.notify.egress.socket.getaddrinfo", lambda *_, **__: found)
    assert "may not be called" in post("https://innocent.example/", b"", {}, Egress().may_reach)


def test_every_mistake_of_the_settings_is_told_with_its_path(tmp_path: Path) -> None:
    file = tmp_path / "notify.yaml"
    assert load_notify(file).channels_for("rollout.rolled-back") == []
    file.write_text(
        """
channels:
  chat: {slack: {url: {env: SLACK_URL, file: keys/slack}}}
  pager: {webhook: {url: 'ftp://x', secret: {env: X}, retries: 3}}
  post: {mail: {host: mail.example, sender: 'a@example.org\\nBcc: b@example.org', to: []}}
  both: {slack: {url: {env: X}}, mail: {host: h, sender: a@b.c, to: [a@b.c]}}
egress: {networks: [everywhere]}
group: 10
"""
    )
    with pytest.raises(SpecError) as mistakes:
        load_notify(file)
    assert {problem.path for problem in mistakes.value.problems} == {
        "channels.chat.slack.url",
        "channels.pager.webhook.url",
        "channels.pager.webhook.retries",
        "channels.post.mail.sender",
        "channels.post.mail.to",
        "channels.both",
        "egress.networks.0",
        "group",
    }
    file.write_text("channels: {a: {slack: {url: {env: X}}}}\nroutes: [{codes: ['rollout.*'], to: [b]}]\n")
    with pytest.raises(SpecError, match=r"routes\.0\.to: no channel is called 'b'"):
        load_notify(file)
    file.write_text("channels: {a: {slack: {url: {env: X}}}}\nroutes: [{codes: ['rollout.*'], to: [a]}]\ngroup: 1m\n")
    settings = load_notify(file)
    assert settings.group == 60
    assert (settings.channels_for("rollout.failed"), settings.channels_for("ramp.raised")) == (["a"], [])


def test_addresses_within_addresses_are_seen_through() -> None:
    cases = {"::ffff:10.0.0.1": "10.0.0.1", "2002:a00:1::": "10.0.0.1", "2001:4860::1": "2001:4860::1"}
    for text, inner in cases.items():
        assert plain(ipaddress.ip_address(text)) == ipaddress.ip_address(inner)


def test_the_examples_of_the_documentation_are_settings() -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "get-told.md").read_text()
    examples = [yaml.safe_load(found) for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    first, *_ = [NotifySettings.model_validate(example) for example in examples]
    assert len(examples) == 2
    assert first.channels_for("burn.page") == ["on-call", "pager", "team"]

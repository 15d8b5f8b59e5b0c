"""Who is told what: ``notify.yaml`` in the home folder."""

import fnmatch
import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, IPvAnyNetwork, model_validator

from contracts.ids import Name
from contracts.model import Frozen
from contracts.units import Duration
from controlplane.notify.egress import Address, is_public
from controlplane.secret import Secret
from controlplane.settings_files import read_settings

FILE = "notify.yaml"
METADATA = ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10")
"""Links, where clouds keep their machines' credentials: never called, whatever the settings say."""

WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2000)]
MailAddress = Annotated[str, Field(pattern=r"^[^\s@<>,;:\"()]+@[A-Za-z0-9.-]+$", max_length=254)]
Pattern = Annotated[str, Field(pattern=r"^[a-z*?.-]+$", max_length=100)]


class Webhook(Frozen):
    """Any program: each message is JSON, signed with ``secret`` (at least 16 bytes)."""

    url: WebAddress
    secret: Secret


class Slack(Frozen):
    """Slack, Mattermost, or whatever takes their incoming webhooks; the address is itself the secret."""

    url: Secret


class Encryption(StrEnum):
    """How a mail server is spoken to: TLS from the first byte, after STARTTLS, or not at all, on this machine only."""

    TLS = "tls"
    STARTTLS = "starttls"
    NONE = "none"


class Mail(Frozen):
    """A mail server, who writes and who is written to. It must take STARTTLS unless ``encryption`` says otherwise."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$", max_length=253)]
    sender: MailAddress
    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=50)]
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    encryption: Encryption = Encryption.STARTTLS
    user: str | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _user_and_password_go_together(self) -> "Mail":
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together; write both or neither")
        return self


class Channel(Frozen):
    """One way to somebody: exactly one of these."""

    webhook: Webhook | None = None
    slack: Slack | None = None
    mail: Mail | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Channel":
        if sum(kind is not None for kind in (self.webhook, self.slack, self.mail)) != 1:
            raise ValueError("a channel has one kind; write webhook, slack or mail")
        return self


class Route(Frozen):
    """Events whose code matches one of ``codes`` (``rollout.*``) go to these channels."""

    codes: Annotated[tuple[Pattern, ...], Field(min_length=1)]
    to: Annotated[tuple[Name, ...], Field(min_length=1)]


class Annotations(Frozen):
    """Grafana's annotations: the beginning and the end of each rollout as marks on its graphs."""

    url: WebAddress
    token: Secret


class Egress(Frozen):
    """What may be called: with ``hosts`` only those; of private networks, and this machine, only those listed."""

    hosts: tuple[str, ...] = ()
    networks: tuple[IPvAnyNetwork, ...] = ()

    def may_reach(self, host: str, address: Address) -> bool:
        """Tell whether an address of a host may be called."""
        if self.hosts and host not in self.hosts:
            return False
        if any(address in network for network in METADATA):
            return False
        return is_public(address) or any(address in network for network in self.networks)


class NotifySettings(Frozen):
    """Channels, and which events go where; an event goes once to each channel that any route names for it.

    What comes within ``group`` after the first event of a subject, such as a rollout, is one message with it.
    """

    channels: dict[Name, Channel] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    annotations: Annotations | None = None
    egress: Egress = Egress()
    group: Annotated[Duration, Field(ge=0, le=3600)] = 10.0

    @model_validator(mode="after")
    def _channels_exist(self) -> "NotifySettings":
        wrong = [
            f"routes.{number}.to: no channel is called {name!r}"
            for number, route in enumerate(self.routes)
            for name in route.to
            if name not in self.channels
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def channels_for(self, code: str) -> list[str]:
        """Return the channels that an event goes to."""
        found = [
            name
            for route in self.routes
            if any(fnmatch.fnmatchcase(code, pattern) for pattern in route.codes)
            for name in route.to
        ]
        return sorted(set(found))


def load_notify(path: Path) -> NotifySettings:
    """Read ``notify.yaml``; without one nobody is told.

    Raises:
        SpecError: with every mistake found.
    """
    return read_settings(path, NotifySettings) or NotifySettings()

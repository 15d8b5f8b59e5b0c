"""Letters: what one recipient is told of one subject, in each recipient's own form."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Self

from contracts.events import Event
from controlplane.notify.settings import Mail
from controlplane.store.outbox import Message

LONGEST_SUBJECT = 150
LONGEST_TEXT = 30_000


@dataclass(frozen=True, slots=True)
class Letter:
    """The events of one subject that came close together, oldest first.

    ``key`` is the same whenever the same letter is sent again.
    """

    key: str
    events: tuple[Event, ...]

    @classmethod
    def read(cls, message: Message) -> Self:
        """Read what the outbox keeps."""
        return cls(message.key, tuple(Event.model_validate(event) for event in message.document["events"]))

    @property
    def subject(self) -> str:
        """What it is about: the service and the subject, and the last event's code."""
        last = self.events[-1]
        service = last.data.get("service")
        more = f" and {len(self.events) - 1} more" if len(self.events) > 1 else ""
        return f"{f'{service}: ' if service else ''}{last.code}{more} ({last.subject})"

    @property
    def lines(self) -> list[str]:
        """One line for each event."""
        return [f"{shown_time(event.at_s)}  {event.code}  {event.message}" for event in self.events]


def shown_time(at_s: float) -> str:
    """Return a moment for people, in UTC."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"


def to_json(letter: Letter) -> str:
    """Return a letter for programs."""
    document = {"schema": 1, "key": letter.key, "events": [event.model_dump(mode="json") for event in letter.events]}
    return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)


def to_slack(letter: Letter) -> str:
    """Return a letter in Slack's form; what could mention people or make a link is taken for plain text."""
    text = "\n".join([f"*{_escape(letter.subject)}*", *(_escape(line) for line in letter.lines)])
    return json.dumps({"text": text[:LONGEST_TEXT]}, ensure_ascii=False)


def to_mail(letter: Letter, mail: Mail) -> EmailMessage:
    """Return a letter as mail; its Message-ID tells a reader's program that it comes a second time."""
    found = EmailMessage()
    found["From"], found["To"] = mail.sender, ", ".join(mail.to)
    found["Subject"] = _one_line(f"[roost] {letter.subject}")[:LONGEST_SUBJECT]
    found["Date"] = format_datetime(datetime.fromtimestamp(letter.events[-1].at_s, UTC))
    found["Message-ID"] = f"<{letter.key.replace('/', '.').replace(':', '.')}@{mail.sender.rpartition('@')[2]}>"
    found["Auto-Submitted"] = "auto-generated"
    found.set_content("\n".join(_one_line(line) for line in letter.lines)[:LONGEST_TEXT] + "\n")
    return found


def to_annotation(event: Event) -> dict[str, Any]:
    """Return the beginning or the end of a rollout as a mark on Grafana's graphs."""
    service = event.data.get("service")
    tags = ["roost", event.code, *([str(service)] if service else [])]
    return {"time": round(event.at_s * 1000), "tags": tags, "text": f"{_html(event.subject)}: {_html(event.message)}"}


def _escape(text: str) -> str:
    return _html(_one_line(text))


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())

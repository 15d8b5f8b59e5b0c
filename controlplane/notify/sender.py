"""Sends what the outbox holds: events go into their recipients' letters, and letters out."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from contracts.clock import Clock
from contracts.errors import InvalidInput
from contracts.events import Event
from controlplane.notify.egress import Address, post, signed_headers
from controlplane.notify.letters import Letter, to_annotation, to_json, to_mail, to_slack
from controlplane.notify.mailing import send_mail
from controlplane.notify.settings import Annotations, Channel, NotifySettings, Slack, Webhook
from controlplane.store.outbox import TO, Message, Outbox
from rollout.actions import ReasonCode

ANNOTATIONS = "@annotations"
"""Like no channel's name."""
ANNOTATED = frozenset({
    ReasonCode.STARTED,
    ReasonCode.PROMOTED,
    ReasonCode.ROLLED_BACK,
    ReasonCode.ENDED_BY_PERSON,
    ReasonCode.FAILED,
})  # fmt: skip
"""The beginning and the ends of a rollout."""
LEAST_SECRET = 16
TAKEN = 50
LEASE_S = 120.0

log = logging.getLogger(__name__)


class Sender:
    """Delivers, at least once and with the same key each time; what fails is tried later and later.

    Channels don't wait for each other. ``home`` is where files of secrets lie. An event that ``is_silenced`` goes to
    nobody.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: NotifySettings,
        home: Path,
        clock: Clock,
        is_silenced: Callable[[Event], bool] = lambda event: False,
    ) -> None:
        self._outbox, self._settings, self._home, self._clock = outbox, settings, home, clock
        self._is_silenced = is_silenced

    def step(self) -> int:
        """Pass on the events that are there and send the letters that are due, once each; return how many were taken.

        Raises:
            Unavailable: when the database doesn't answer.
        """
        for event in self._outbox.take(at_most=TAKEN, addressed=False):
            try:
                self._outbox.pass_on(event, self._recipients(event))
            except ValidationError:
                self._outbox.mark_failed(event, "its document is no event")
        due: dict[str, list[Message]] = {}
        for letter in self._outbox.take(at_most=TAKEN, length_s=LEASE_S, addressed=True):
            due.setdefault(letter.topic.split("/")[1], []).append(letter)
        if not due:
            return 0
        with ThreadPoolExecutor(max_workers=len(due)) as pool:
            return sum(pool.map(self._send_all, due, due.values()))

    def _recipients(self, message: Message) -> dict[str, float]:
        event = Event.model_validate(message.document)
        if self._is_silenced(event):
            return {}
        about = hashlib.sha256(event.subject.encode()).hexdigest()[:16]
        found = {f"{TO}{channel}/{about}": self._settings.group for channel in self._settings.channels_for(event.code)}
        if self._settings.annotations is not None and event.code in ANNOTATED:
            # Each mark is its own: its topic is shared with nothing.
            found[f"{TO}{ANNOTATIONS}/{message.sequence}"] = 0.0
        return found

    def _send_all(self, channel: str, messages: Sequence[Message]) -> int:
        """Send one channel's letters in their order; after one that fails the others wait as well."""
        problem, taken = "", 0
        for message in messages:
            problem = problem or self._send(channel, message)
            if not problem:
                taken += self._outbox.mark_sent(message)
                continue
            self._outbox.mark_failed(message, problem)
            log.warning("%s to %s was not taken (attempt %d): %s", message.key, channel, message.attempts, problem)
        return taken

    def _send(self, name: str, message: Message) -> str:
        """Send one letter; return why it was not taken, "" when it was."""
        letter = Letter.read(message)
        try:
            if message.topic.startswith(f"{TO}{ANNOTATIONS}/") and self._settings.annotations is not None:
                return self._annotate(self._settings.annotations, letter)
            channel = self._settings.channels.get(name)
            return "there is no such channel any more" if channel is None else self._deliver(channel, letter)
        except InvalidInput as error:
            return error.message

    def _deliver(self, channel: Channel, letter: Letter) -> str:
        if channel.webhook is not None:
            return self._call(channel.webhook, letter)
        if channel.slack is not None:
            return self._chat(channel.slack, letter)
        mail = channel.mail
        if mail is None:
            return "the channel has no kind"
        password = mail.password.read(self._home) if mail.password is not None else ""
        return send_mail(mail, to_mail(letter, mail), password, self._settings.egress.may_reach)

    def _call(self, webhook: Webhook, letter: Letter) -> str:
        secret, body = webhook.secret.read(self._home).encode(), to_json(letter)
        if len(secret) < LEAST_SECRET:
            raise InvalidInput(f"the webhook's secret is shorter than {LEAST_SECRET} bytes", hint="make a longer one")
        headers = signed_headers(secret, key=letter.key, at_s=self._clock.now_s(), body=body)
        return self._post(webhook.url, body, headers)

    def _chat(self, slack: Slack, letter: Letter) -> str:
        return self._post(slack.url.read(self._home), to_slack(letter), {"content-type": "application/json"})

    def _annotate(self, annotations: Annotations, letter: Letter) -> str:
        token = annotations.token.read(self._home)
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {token}",
            "idempotency-key": letter.key,
        }
        return self._post(annotations.url, json.dumps(to_annotation(letter.events[0])), headers)

    def _post(self, url: str, body: str, headers: dict[str, str]) -> str:
        """Post over HTTPS; plain HTTP stays on this machine."""
        is_plain = urlsplit(url).scheme != "https"

        def may_reach(host: str, address: Address) -> bool:
            return self._settings.egress.may_reach(host, address) and (address.is_loopback or not is_plain)

        return post(url, body.encode(), headers, may_reach)

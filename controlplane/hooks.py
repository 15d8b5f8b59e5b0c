"""Hooks: calls that are written down first, signed, and tried until they are taken.

A receiver may get a call twice when its answer was lost; the idempotency key tells it so.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text, select, update
from sqlalchemy.exc import SQLAlchemyError

from contracts.clock import Clock, SystemClock
from contracts.errors import InvalidInput
from controlplane.notify.egress import Address, is_near_literal, is_public, post, signed_headers, without_secrets
from controlplane.settings import Settings
from controlplane.store.telemetry_database import open_database, reading, upsert

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
SCHEMA = MetaData()
CALLS = Table(
    "hook_calls",
    SCHEMA,
    Column("key", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at_s", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_s", Float, nullable=False),
    Column("delivered_s", Float),
    Column("problem", Text, nullable=False),
)
SECRET_VARIABLE = "ROOST_HOOK_SECRET"  # noqa: S105 - the name of the variable, not a secret
MOST_ATTEMPTS = 12
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 3600.0
LEAST_SECRET = 16


class Hooks:
    """Hooks of one home. ``secret`` signs every call; it is in no log, no error and no table."""

    def __init__(self, url: str, clock: Clock, secret: bytes) -> None:
        if len(secret) < LEAST_SECRET:
            raise InvalidInput(
                f"hook secret: shorter than {LEAST_SECRET} bytes", hint=f"set {SECRET_VARIABLE} or name a file"
            )
        self._engine = open_database(url, SCHEMA)
        self._clock, self._secret = clock, secret

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def put(self, url: str, document: Mapping[str, Any]) -> str:
        """Write a call down and return its idempotency key; the same call twice is one.

        Raises:
            InvalidInput: when the address can't be called.
        """
        check_url(url)
        body = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)
        key = hashlib.sha256(f"{url}\n{body}".encode()).hexdigest()
        now_s = self._clock.now_s()
        row = {"key": key, "url": url, "body": body, "at_s": now_s, "attempts": 0, "next_s": now_s, "problem": ""}
        with self._engine.begin() as connection:
            upsert(connection, CALLS, [{**row, "delivered_s": None}])
        return key

    def deliver(self) -> list[str]:
        """Try what is due, once each; return a sentence for each call that was not taken."""
        now_s = self._clock.now_s()
        due = (CALLS.c.delivered_s.is_(None)) & (CALLS.c.next_s <= now_s) & (CALLS.c.attempts < MOST_ATTEMPTS)
        with reading(self._engine) as connection:
            rows = connection.execute(select(CALLS).where(due).order_by(CALLS.c.at_s)).mappings()
            calls = [dict(row) for row in rows]
        problems = []
        for call in calls:
            attempts = int(call["attempts"]) + 1
            wait_s = min(FIRST_WAIT_S * 2.0 ** (attempts - 1), LONGEST_WAIT_S)
            # Claimed before it is made: of several processes that look here, one makes this attempt.
            if not self._note(call, attempts=attempts, next_s=now_s + wait_s):
                continue
            problem = self._send(call["key"], call["url"], call["body"])
            self._note({**call, "attempts": attempts}, problem=problem, delivered_s=None if problem else now_s)
            if problem:
                end = "given up" if attempts >= MOST_ATTEMPTS else f"tried again in {wait_s:.0f} s"
                problems.append(f"hook {without_secrets(call['url'])}: {problem}; {end}")
        return problems

    def waiting(self) -> int:
        """Return how many calls are neither delivered nor given up."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(CALLS.c.key).where(CALLS.c.delivered_s.is_(None), CALLS.c.attempts < MOST_ATTEMPTS)
            )
            return len(rows.all())

    def _note(self, call: Mapping[str, Any], **values: object) -> bool:
        """Write how a call stands; False when somebody else has tried it since it was read."""
        same = (CALLS.c.key == call["key"]) & (CALLS.c.attempts == call["attempts"])
        with self._engine.begin() as connection:
            return bool(connection.execute(update(CALLS).where(same).values(values)).rowcount)

    def _send(self, key: str, url: str, body: str) -> str:
        """Call once; return why it was not taken, "" when it was."""
        try:
            check_url(url)
        except InvalidInput as error:
            return error.message
        headers = signed_headers(self._secret, key=key, at_s=self._clock.now_s(), body=body)
        return post(url, body.encode(), headers, _may_reach)


def keep_delivering(settings: Settings, stop: threading.Event) -> None:
    """Make the calls of a home as they fall due until told to stop; without a secret to sign with there are none."""
    try:
        hooks = Hooks(settings.hooks_uri, SystemClock(), read_secret(None))
    except InvalidInput:
        return
    with closing(hooks):
        while not stop.wait(LOOK_EVERY_S):
            try:
                for problem in hooks.deliver():
                    LOG.warning(problem)
            except SQLAlchemyError as error:
                LOG.warning("hooks wait for their database: %s", error)


def read_secret(file: Path | None) -> bytes:
    """Return the secret of a file, else of the environment.

    Raises:
        InvalidInput: when there is none.
    """
    if file is not None:
        try:
            return file.read_bytes().strip()
        except OSError as error:
            raise InvalidInput(f"hook secret: {file} can't be read: {error.strerror}", hint="name a file") from None
    found = os.environ.get(SECRET_VARIABLE, "")
    if not found:
        raise InvalidInput("hook secret: there is none", hint=f"set {SECRET_VARIABLE}, or name a file")
    return found.encode()


def check_url(url: str) -> None:
    """Refuse what no hook may call: another scheme, a name in the address, plain HTTP beyond this network.

    An address of this machine or a private one is called only where it is written as such: a name that merely resolves
    to one may be somebody's way in.

    Raises:
        InvalidInput: naming what is wrong.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"hook: {without_secrets(url)!r} is not a web address", hint="write https://HOST/PATH")
    if parts.username or parts.password:
        raise InvalidInput("hook: the address holds a name or password", hint="calls are signed instead")
    if parts.scheme == "http" and not is_near_literal(parts.hostname):
        raise InvalidInput("hook: plain http leaves this network", hint="write https://")


def _may_reach(host: str, address: Address) -> bool:
    return is_public(address) or is_near_literal(host)

"""Tokens of people and programs: ``rst_<id>_<secret>``, kept only as a keyed hash."""

import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, update

from contracts.errors import InvalidInput, NotFound, NotPermitted, Unauthenticated
from contracts.ids import parse_name
from controlplane.store.audit import Audit
from controlplane.store.database import Database
from controlplane.store.schema import TOKENS

TOKEN = re.compile(r"rst_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


RESERVED = ("guard/", "monitor/", "rollout/", "service/", "roost")
"""How actors are called that are no people; what the first two end is remembered like a rollback."""


def is_reserved(actor: str) -> bool:
    """Tell whether a name is the control plane's own, which nobody may come with."""
    return actor.casefold().startswith(RESERVED)


class Role(StrEnum):
    """What a holder may do; each role includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Tell whether this role may do all that ``other`` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. ``scopes`` are the services that it is good for, none of them means all."""

    id: str
    holder: str
    role: Role
    scopes: tuple[str, ...]
    created_s: float
    created_by: str
    expires_s: float | None
    revoked_s: float | None

    def require(self, role: Role, service: str | None = None) -> None:
        """Refuse what this token does not allow.

        Raises:
            NotPermitted: when its role is too low, or the service is outside its scopes.
        """
        if not self.role.includes(role):
            raise NotPermitted(f"{self.holder} is {self.role}; this needs {role}", hint="ask an admin for a token")
        if self.scopes and service not in self.scopes:
            raise NotPermitted(
                f"{self.holder}'s token is for {', '.join(self.scopes)}, not for {service or 'everything'}",
                hint="ask an admin for a token of this service",
            )


class Tokens:
    """The tokens of one database; ``key`` is what their hashes are keyed with, and never lies in the database."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database, self._key, self._audit = database, key, Audit(database)

    def create(
        self,
        holder: str,
        role: Role,
        *,
        actor: str,
        reason: str,
        scopes: Sequence[str] = (),
        lifetime_s: float | None = None,
    ) -> tuple[Token, str]:
        """Return a new token and its text, which is told this once and can't be found again.

        Raises:
            InvalidInput: when nobody is named, the name is the control plane's own, a scope is no name, or it would
                never be valid.
        """
        if not holder:
            raise InvalidInput("holder: nobody is named", hint="say who will use the token")
        if is_reserved(holder):
            raise InvalidInput(f"holder: {holder!r} is a name of the control plane's own", hint="name a person")
        if lifetime_s is not None and not lifetime_s > 0:
            raise InvalidInput("lifetime: a token needs one above 0", hint="write 30d, or leave it out")
        services = tuple(sorted({parse_name(scope, "scope") for scope in scopes}))
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._database.write() as connection:
            now_s = self._database.now_s(connection)
            row = {
                "id": identifier,
                "hash": self._hash(identifier, secret),
                "holder": holder,
                "role": role.value,
                "scopes": json.dumps(services),
                "created_s": now_s,
                "created_by": actor,
                "expires_s": None if lifetime_s is None else now_s + lifetime_s,
                "revoked_s": None,
            }
            connection.execute(insert(TOKENS).values(row))
            told = {"holder": holder, "role": role.value, "scopes": list(services)}
            self._audit.write(
                connection,
                actor=actor,
                action="token.create",
                subject=f"token/{identifier}",
                reason=reason,
                detail=told,
            )
        return self.get(identifier), f"rst_{identifier}_{secret}"

    def check(self, text: str) -> Token:
        """Return the token that ``text`` is, in a time that doesn't tell how much of it was right.

        Raises:
            Unauthenticated: when it is none of ours, has expired or was revoked.
        """
        match = TOKEN.fullmatch(text)
        identifier, secret = match.groups() if match else ("", "")
        with self._database.read() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.id == identifier)).one_or_none()
            now_s = self._database.now_s(connection)
        right = hmac.compare_digest(self._hash(identifier, secret), row.hash if row is not None else "-" * 64)
        if row is None or not right:
            raise Unauthenticated("the token is not valid", hint="is it whole? does it belong to this control plane?")
        if row.revoked_s is not None:
            raise Unauthenticated(f"token {identifier} was revoked", hint="ask an admin for a new one")
        if row.expires_s is not None and row.expires_s <= now_s:
            raise Unauthenticated(f"token {identifier} has expired", hint="ask an admin for a new one")
        return _read(row)

    def revoke(self, identifier: str, *, actor: str, reason: str) -> Token:
        """End a token now; it stays in the list. Revoked again, it stays as it was.

        Raises:
            NotFound: when there is none.
        """
        with self._database.write() as connection:
            mine = (TOKENS.c.id == identifier) & TOKENS.c.revoked_s.is_(None)
            ended = connection.execute(update(TOKENS).where(mine).values(revoked_s=self._database.now()))
            if ended.rowcount:
                self._audit.write(
                    connection, actor=actor, action="token.revoke", subject=f"token/{identifier}", reason=reason
                )
        return self.get(identifier)

    def get(self, identifier: str) -> Token:
        """Return one token.

        Raises:
            NotFound: when there is none.
        """
        with self._database.read() as connection:
            row = connection.execute(select(TOKENS).where(TOKENS.c.id == identifier)).one_or_none()
        if row is None:
            raise NotFound(f"there is no token {identifier}")
        return _read(row)

    def list(self) -> list[Token]:
        """Return all tokens, expired and revoked ones too, the newest first."""
        with self._database.read() as connection:
            found = connection.execute(select(TOKENS).order_by(TOKENS.c.created_s.desc(), TOKENS.c.id)).all()
        return [_read(row) for row in found]

    def _hash(self, identifier: str, secret: str) -> str:
        return hmac.digest(self._key, f"{identifier}:{secret}".encode(), "sha256").hex()


def load_token_key(path: Path) -> bytes:
    """Return the key that tokens' hashes are made with; one is written (mode 0600) where there is none.

    Raises:
        NotPermitted: when others than its owner may read it.
        InvalidInput: when it is too short.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    except FileExistsError:
        pass
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NotPermitted(f"{path} can be read by others than its owner", hint=f"chmod 600 {path}")
    key = path.read_bytes()
    if len(key) < 32:
        raise InvalidInput(f"{path} holds no key of 32 bytes", hint="copy it again from another control plane")
    return key


def _read(row: Row[Any]) -> Token:
    return Token(
        row.id,
        row.holder,
        Role(row.role),
        tuple(json.loads(row.scopes)),
        row.created_s,
        row.created_by,
        row.expires_s,
        row.revoked_s,
    )

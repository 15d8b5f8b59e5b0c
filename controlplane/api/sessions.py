"""Sessions of browsers: a signed cookie that stands for a token, and ends with it."""

import hmac
import secrets

from contracts.clock import Clock
from contracts.errors import NotFound, Unauthenticated
from controlplane.store.logins import EndedLogins
from controlplane.store.tokens import Token, Tokens

COOKIE = "roost_session"


class Sessions:
    """Makes and reads cookies ``TOKEN.END.NONCE.SIGNATURE``; they hold no secret but their own signature."""

    def __init__(self, tokens: Tokens, ended: EndedLogins, key: bytes, clock: Clock, *, length_s: float) -> None:
        self._tokens, self._ended, self._clock, self._length_s = tokens, ended, clock, length_s
        self._key = hmac.digest(key, b"roost session", "sha256")

    @property
    def length_s(self) -> float:
        """How long a session lasts."""
        return self._length_s

    def begin(self, token: Token) -> str:
        """Return the cookie of a new session."""
        end_s = self._clock.now_s() + self._length_s
        if token.expires_s is not None:
            end_s = min(end_s, token.expires_s)
        told = f"{token.id}.{end_s:.0f}.{secrets.token_hex(8)}"
        return f"{told}.{self._sign(told)}"

    def read(self, cookie: str) -> Token:
        """Return the token behind a cookie.

        Raises:
            Unauthenticated: when we didn't sign it, it is over, or its token has expired or was revoked.
        """
        told, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._sign(told).encode(), signature.encode()):
            raise Unauthenticated("the session is not valid", hint="log in again")
        identifier, end, nonce = told.split(".")
        now_s = self._clock.now_s()
        try:
            token = self._tokens.get(identifier)
        except NotFound:
            raise Unauthenticated("the session's token is gone", hint="log in again") from None
        expired = token.expires_s is not None and token.expires_s <= now_s
        if float(end) <= now_s or expired or token.revoked_s is not None or self._ended.is_ended(nonce):
            raise Unauthenticated("the session is over", hint="log in again")
        return token

    def end(self, cookie: str) -> None:
        """End a session for good, whoever still has its cookie; one that is no session of ours is left alone."""
        told, _, signature = cookie.rpartition(".")
        if hmac.compare_digest(self._sign(told).encode(), signature.encode()):
            _, end, nonce = told.split(".")
            self._ended.end(nonce, float(end))

    def _sign(self, told: str) -> str:
        return hmac.digest(self._key, told.encode(), "sha256").hex()

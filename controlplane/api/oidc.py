"""Bearer tokens of an identity provider (OpenID Connect): signature, issuer, audience, time, and groups to a role."""

import json
import threading
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from contracts.clock import Clock
from contracts.errors import InvalidInput, NotPermitted, Unauthenticated, Unavailable
from controlplane.api.access import OidcSpec
from controlplane.api.principal import Principal, grant
from controlplane.store.tokens import Role, is_reserved

ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
FRESH_S = 600.0
SHORTEST_S = 30.0
"""Seconds between two looks for keys that an unknown key id may cause: a stranger must not make us ask all the time."""
LONGEST_CHARS = 16_384


class Oidc:
    """Recognises whom the provider vouches for."""

    def __init__(self, spec: OidcSpec, home: Path, clock: Clock) -> None:
        self._spec, self._home, self._clock = spec, home, clock
        self._keys: KeySet | None = None
        self._read_s = 0.0
        self._lock = threading.Lock()

    def recognise(self, text: str) -> Principal:
        """Return whom a token names, with the greatest role of their groups.

        Raises:
            Unauthenticated: when it isn't theirs, is for somebody else, not valid yet or not any more.
            NotPermitted: when none of the person's groups has a role.
            Unavailable: when the provider's keys can't be had.
        """
        claims = self._claims(text)
        actor = claims.get(self._spec.actor_claim)
        if not isinstance(actor, str) or not actor or len(actor) > 200:
            raise Unauthenticated(f"the token has no {self._spec.actor_claim}", hint="see oidc.actor_claim")
        if is_reserved(actor):
            raise NotPermitted(f"{actor!r} is a name of the control plane's own", hint="choose another actor_claim")
        groups = claims.get(self._spec.groups_claim)
        named = groups if isinstance(groups, list) else [groups]
        roles = [self._spec.roles[group] for group in named if isinstance(group, str) and group in self._spec.roles]
        if not roles:
            raise NotPermitted(f"{actor} is in no group that has a role", hint="see oidc.roles in access.yaml")
        return grant(actor, max(roles, key=list(Role).index), "oidc")

    def _claims(self, text: str) -> dict[str, Any]:
        if len(text) > LONGEST_CHARS:
            raise Unauthenticated("the token is too long to be one", hint="log in again")
        try:
            try:
                token = jwt.decode(text, self._key_set(), algorithms=ALGORITHMS)
            except InvalidKeyIdError:
                token = jwt.decode(text, self._key_set(anew=True), algorithms=ALGORITHMS)
            registry = jwt.JWTClaimsRegistry(
                now=int(self._clock.now_s()),
                leeway=int(self._spec.leeway),
                iss={"essential": True, "value": self._spec.issuer},
                aud={"essential": True, "value": self._spec.audience},
                exp={"essential": True},
            )
            registry.validate(token.claims)
        except (JoseError, ValueError) as error:
            why = str(error) or type(error).__name__
            raise Unauthenticated(f"the identity provider's token is not valid: {why}", hint="log in again") from None
        return dict(token.claims)

    def _key_set(self, *, anew: bool = False) -> KeySet:
        with self._lock:
            age_s = self._clock.monotonic_s() - self._read_s
            if self._keys is None or age_s > FRESH_S or (anew and age_s > SHORTEST_S):
                self._keys, self._read_s = self._read_keys(), self._clock.monotonic_s()
            return self._keys

    def _read_keys(self) -> KeySet:
        where = self._spec.jwks
        try:
            if where.startswith("https:"):
                answer = httpx.get(where, timeout=5.0, follow_redirects=False, trust_env=False)
                text = answer.raise_for_status().text
            else:
                text = (self._home / where).read_text()
            return KeySet.import_key_set(json.loads(text))
        except (httpx.HTTPError, OSError) as error:
            raise Unavailable(f"the identity provider's keys can't be had: {error}", hint="see oidc.jwks") from None
        except (ValueError, KeyError, TypeError, JoseError):
            raise InvalidInput(f"oidc.jwks: there are no keys at {where}", hint="it must be a JWK set") from None

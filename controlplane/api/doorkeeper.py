"""The door: who asks is recognised, what a foreign site makes a browser send is refused, and nobody asks too much."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from contracts.clock import Clock
from contracts.errors import NotPermitted, Unauthenticated
from controlplane.api.access import AccessSpec, Anonymous
from controlplane.api.buckets import Buckets
from controlplane.api.oidc import Oidc
from controlplane.api.principal import ANONYMOUS, Principal, grant
from controlplane.api.sessions import COOKIE, Sessions
from controlplane.store.tokens import Role, Tokens
from controlplane.web.protection import LOOPBACK, host_name

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")


class Doorkeeper:
    """Lets requests in."""

    def __init__(
        self, access: AccessSpec, tokens: Tokens, sessions: Sessions, *, oidc: Oidc | None, clock: Clock
    ) -> None:
        self._access, self._tokens, self._sessions, self._oidc = access, tokens, sessions, oidc
        self._asked = Buckets(clock, per_s=access.requests_per_second, burst=access.burst)

    def admit(self, request: Request) -> Principal:
        """Return who asks.

        Raises:
            Unauthenticated: when a token is missing or wrong.
            NotPermitted: when a browser sends it on another site's behalf, or a person's groups have no role.
            TooManyRequests: when they ask too much.
        """
        refuse_foreign_site(request)
        try:
            principal = self._recognise(request)
        except Unauthenticated:
            self._asked.take(address_of(request))
            raise
        self._asked.take(counted_as(request, principal))
        return principal

    def admit_stranger(self, request: Request) -> None:
        """Let somebody in who need not be known, within the rate of their address.

        Raises:
            NotPermitted, TooManyRequests: as `admit`.
        """
        refuse_foreign_site(request)
        self._asked.take(address_of(request))

    def _recognise(self, request: Request) -> Principal:
        header = request.headers.get("authorization", "")
        if header:
            scheme, _, text = header.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("authorization: only bearer tokens are taken", hint="Authorization: Bearer rst_…")
            if text.startswith("rst_") or self._oidc is None:
                return Principal(self._tokens.check(text.strip()), "token")
            return self._oidc.recognise(text.strip())
        cookie = request.cookies.get(COOKIE, "")
        if cookie:
            return Principal(self._sessions.read(cookie), "session")
        if self._access.anonymous is Anonymous.VIEWER and is_here(request):
            return grant(ANONYMOUS, Role.VIEWER, ANONYMOUS)
        raise Unauthenticated("who asks is not known", hint="send a token: Authorization: Bearer rst_…")


def refuse_foreign_site(request: Request) -> None:
    """Refuse a change that a browser sends from another site's page.

    A bearer token is never sent by a browser on its own; a cookie is, and so is nothing at all to a server on loopback.

    Raises:
        NotPermitted: when the page is another site's, or a cookie comes without a word about the page.
    """
    if request.method in SAFE or "authorization" in request.headers:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        foreign = site not in {"same-origin", "none"}
    elif origin is not None:
        foreign = urlsplit(origin).netloc != request.headers.get("host", "")
    else:
        foreign = COOKIE in request.cookies
    if foreign:
        raise NotPermitted("a page of another site may not change anything here", hint="use our own pages, or a token")


def counted_as(request: Request, principal: Principal) -> str:
    """Return whose share of what may be asked a request takes: its actor's, or its address's if nobody knows them."""
    return principal.actor if principal.via != ANONYMOUS else address_of(request)


def is_here(request: Request) -> bool:
    """Tell whether a request comes from this very machine, under its own name, and nobody passed it on."""
    if host_name(request.headers.get("host", "")) not in LOOPBACK or any(h in request.headers for h in PASSED_ON):
        return False
    try:
        return ipaddress.ip_address(address_of(request)).is_loopback
    except ValueError:
        return False


def address_of(request: Request) -> str:
    """Return the address that a request came from."""
    return request.client.host if request.client is not None else ""

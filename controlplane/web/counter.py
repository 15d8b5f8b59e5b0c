"""The counter: what a person asks for on a page is asked of the API in their name, so that one place alone decides.

The API is an application in the same process. Their cookie goes with each question, and what the browser says of the
page that it was sent from: the API refuses what another site makes a browser send.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.requests import Request
from starlette.types import ASGIApp

from contracts.errors import Unavailable
from controlplane.api.doorkeeper import PASSED_ON as PROXIED

PASSED_ON = ("cookie", "host", "origin", "sec-fetch-site", *PROXIED)
OK = range(200, 300)
REFUSED = frozenset({401, 403})
KEY_BYTES = 16


@dataclass(frozen=True)
class Person:
    """Who looks at a page: their name, their role, and what they came with (session, token, anonymous, oidc)."""

    actor: str = ""
    role: str = ""
    via: str = "anonymous"
    scopes: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Tell whether they have logged in."""
        return self.via != "anonymous"


NOBODY = Person()


@dataclass(frozen=True)
class Answer:
    """What the API answered: its document, or its problem; ``cookies`` are for the browser."""

    status: int
    document: Mapping[str, Any] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        """Tell whether it was done, or found."""
        return self.status in OK

    @property
    def problem(self) -> str:
        """What is wrong, for people; "" when nothing is."""
        return "" if self.is_done else str(self.document.get("detail", "the control plane gave no reason"))

    @property
    def hint(self) -> str:
        """What to do about it."""
        return str(self.document.get("hint", ""))

    @property
    def code(self) -> str:
        """The problem's stable code."""
        return str(self.document.get("code", ""))


class Counter:
    """Asks the API."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def ask(
        self,
        request: Request,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        key: str = "",
        as_nobody: bool = False,
    ) -> Answer:
        """Ask for something in the name of whoever sent ``request``; asked again under ``key`` it is done once."""
        headers = {name: value for name in PASSED_ON if (value := request.headers.get(name)) is not None}
        if as_nobody:
            headers.pop("cookie", None)
        if key:
            headers["idempotency-key"] = key
        client = (request.client.host, request.client.port) if request.client is not None else ("", 0)
        transport = httpx.ASGITransport(app=self._api, client=client, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url)) as session:
            answer = await session.request(method, path, json=document, headers=headers)
        is_json = "json" in answer.headers.get("content-type", "")
        told = answer.json() if is_json and answer.content else {}
        return Answer(answer.status_code, told, tuple(answer.headers.get_list("set-cookie")))

    async def identify(self, request: Request) -> Person | None:
        """Return who asks; None when they may not look at the pages, which show every service.

        Somebody whose token is for some services alone may look where everybody may.

        Raises:
            Unavailable: when they ask too much, or the API can't tell.
        """
        answer = await self.ask(request, "GET", "/whoami")
        if answer.status in REFUSED:
            return None
        if not answer.is_done:
            raise Unavailable(answer.problem, hint=answer.hint)
        told = answer.document
        person = Person(told["actor"], told["role"], told["via"], tuple(told["scopes"]))
        if person.scopes and not (await self.ask(request, "GET", "/whoami", as_nobody=True)).is_done:
            return None
        return person


def new_key() -> str:
    """Return a key under which a form that is sent twice is done once."""
    return secrets.token_urlsafe(KEY_BYTES)

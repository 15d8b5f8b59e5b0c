"""Intake: what every protocol's request becomes before it is served."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.errors import InvalidInput, NotFound, NotPermitted
from contracts.ids import VersionId
from contracts.specs.service import StickyKey
from serving.gateway.service import Service
from serving.gateway.work import Work

Headers = Mapping[bytes, bytes]
LONGEST_KEY = 500


@dataclass(slots=True)
class Intake:
    """A request as accepted: its service, lane and sticky key, and what workers will be asked.

    ``works`` has one entry per picture asked for. ``forced`` is the version that the client may and did ask for;
    ``review`` why a policy wants a person to look at the answer; ``repeatable`` whether the client chose the seed, so
    that the same can be asked again.
    """

    service: Service
    lane: str
    request_id: str
    sticky_key: str
    works: tuple[Work, ...]
    prompt: str | None = None
    user: str | None = None
    forced: VersionId | None = None
    review: str | None = None
    repeatable: bool = True

    def weight(self) -> float | None:
        """Return the challenger's share in the split that assigned the request, None when none did."""
        return self.service.weight if self.forced is None else None

    def part_id(self, index: int) -> str:
        """Return the id of one of several pictures."""
        return f"{self.request_id}.{index}" if index else self.request_id


def find_service(name: object, services: Mapping[str, Service]) -> Service:
    """Return the service of that name.

    Raises:
        NotFound: with the names there are.
    """
    service = services.get(name) if isinstance(name, str) else None
    if service is None:
        known = ", ".join(services) or "none yet"
        raise NotFound(f"model: no service is called {name!r}", hint=f"services: {known}")
    return service


def read_lane(service: Service, headers: Headers, prompt: str | None) -> str:
    """Return the lane that headers and prompt ask for.

    Raises:
        InvalidInput: when the lane asked for isn't declared.
    """
    if b"x-roost-lane" not in headers and b"x-roost-tier" not in headers:
        return service.lane_rules.choose(prompt)
    asked, tier = text_of(headers, b"x-roost-lane"), text_of(headers, b"x-roost-tier")
    return service.lane_rules.choose(prompt, asked=asked, tier=tier)


def read_sticky_key(service: Service, headers: Headers, user: str | None) -> str | None:
    """Return what keeps a client with a version, None when each request is assigned anew."""
    sticky = service.sticky
    if sticky is StickyKey.REQUEST:
        return None
    return user if sticky is StickyKey.USER else text_of(headers, b"x-roost-session")


def read_forced_version(service: Service, headers: Headers, named: str | None = None) -> VersionId | None:
    """Return the version that a client asks for, in the header or by the path of its protocol.

    Raises:
        NotPermitted: when its token is none of the service's.
        NotFound: when the version has no replica.
    """
    if named is None and b"x-roost-force-version" not in headers:
        return None
    asked = named or text_of(headers, b"x-roost-force-version") or ""
    allowed = service.routes.force.tokens if service.routes.force is not None else ()
    token = headers.get(b"x-roost-force-token", b"")
    if hashlib.sha256(token).hexdigest() not in allowed:
        raise NotPermitted(
            "x-roost-force-version: this client may not choose the version",
            hint="send a token of the service's force.tokens as x-roost-force-token",
        )
    version = service.version_named(asked)
    if version is None:
        running = ", ".join(map(str, service.lines))
        raise NotFound(f"x-roost-force-version: {asked!r} has no replica", hint=f"versions with replicas: {running}")
    return version


def text_of(headers: Headers, name: bytes) -> str | None:
    """Return a header's text.

    Raises:
        InvalidInput: when it is too long to be one of ours.
    """
    value = headers.get(name)
    if value is None:
        return None
    if len(value) > LONGEST_KEY:
        raise InvalidInput(f"{name.decode()}: longer than {LONGEST_KEY} characters", hint="shorten it")
    return value.decode("latin-1")

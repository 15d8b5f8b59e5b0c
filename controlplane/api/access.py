"""Who may ask and how much, as the home's ``access.yaml`` says; without that file, as on a machine of one's own."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from contracts.model import Frozen
from contracts.units import ByteSize, Duration
from controlplane.api.places import EACH, TOGETHER
from controlplane.settings_files import read_settings
from controlplane.store.tokens import Role

FILE = "access.yaml"


class Anonymous(StrEnum):
    """What somebody without a token may do from this very machine: look at everything, or nothing."""

    VIEWER = "viewer"
    NONE = "none"


class OidcSpec(Frozen):
    """An identity provider whose tokens are taken, too.

    ``jwks`` is where its keys are: an https address, or a file (relative to the home folder). ``roles`` gives a role to
    each group that has one; of several groups the greatest holds. ``actor_claim`` is what a person is called in the
    audit, ``leeway`` how far its clock may be from ours.
    """

    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[str, Field(min_length=1)]
    jwks: Annotated[str, Field(min_length=1)]
    roles: Annotated[dict[str, Role], Field(min_length=1)]
    groups_claim: str = "groups"
    actor_claim: str = "sub"
    leeway: Annotated[Duration, Field(ge=0, le=300)] = 30.0

    @model_validator(mode="after")
    def _keys_come_safely(self) -> "OidcSpec":
        if self.jwks.startswith("http:"):
            raise ValueError("jwks: keys that come without TLS prove nothing; write an https address or a file")
        return self


class AccessSpec(Frozen):
    """Access to the API.

    ``hosts`` are names that it answers to beside the loopback's; where there are any, ``anonymous`` is ``none`` unless
    written: behind a proxy that says nothing of whom it speaks for, everybody seems to ask from this very machine.
    ``session`` is how long a browser stays logged in, ``requests_per_second`` and ``burst`` what one actor, or one
    address, may ask, and ``streams_per_actor`` how many streams they may have open, of ``streams`` in all;
    ``max_body`` is the largest request.
    """

    anonymous: Anonymous = Anonymous.VIEWER
    hosts: tuple[str, ...] = ()
    session: Annotated[Duration, Field(gt=0, le=7 * 86400)] = 12 * 3600.0
    requests_per_second: Annotated[float, Field(gt=0)] = 50.0
    burst: Annotated[int, Field(ge=1)] = 200
    streams_per_actor: Annotated[int, Field(ge=1)] = EACH
    streams: Annotated[int, Field(ge=1)] = TOGETHER
    max_body: Annotated[ByteSize, Field(ge=1024, le=64 << 20)] = 2 << 20
    oidc: OidcSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _trust_nobody_unknown_behind_a_proxy(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("hosts") and "anonymous" not in given:
            return {**given, "anonymous": Anonymous.NONE}
        return given


def load_access(home: Path) -> AccessSpec:
    """Return the access that a home's ``access.yaml`` grants; the defaults where there is none.

    Raises:
        InvalidInput: when it can't be read; `SpecError` with every mistake in it.
    """
    return read_settings(home / FILE, AccessSpec) or AccessSpec()

"""Who asks, and what an endpoint requires of them."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from contracts.errors import Unauthenticated
from controlplane.store.tokens import Role, Token

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks: the grant they hold, and what they came with (token, session, oidc, anonymous)."""

    grant: Token
    via: str

    @property
    def actor(self) -> str:
        """The name that the audit is told."""
        return self.grant.holder

    @property
    def role(self) -> Role:
        """What they may do."""
        return self.grant.role

    def require(self, role: Role, service: str | None = None) -> None:
        """Refuse what they may not do.

        Raises:
            Unauthenticated: when nobody knows who they are, and that doesn't suffice.
            NotPermitted: when their role is too low, or the service is outside their scopes.
        """
        if self.via == ANONYMOUS and not self.role.includes(role):
            raise Unauthenticated(f"this needs the role {role}", hint="send a token: Authorization: Bearer rst_…")
        self.grant.require(role, service)


def grant(holder: str, role: Role, via: str) -> Principal:
    """Return somebody who holds no token of ours."""
    return Principal(Token("", holder, role, (), 0.0, via, None, None), via)


def who_asks(request: Request) -> Principal:
    """Return who was recognised before the endpoint was reached."""
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise Unauthenticated("nobody was recognised", hint="send a token")
    return principal


@dataclass(frozen=True)
class Requirement:
    """A role that an endpoint requires: for the service that its address names, else for all; or for some service."""

    role: Role
    some_service: bool = False

    def __call__(self, request: Request) -> Principal:
        """Return who asks, unless they may not."""
        principal = who_asks(request)
        if not (self.some_service and principal.role.includes(self.role)):
            service = request.path_params.get("service") or request.query_params.get("service")
            principal.require(self.role, service)
        return principal


def role_of(route: APIRoute) -> str:
    """Return the role that a route requires, "" when it needs none."""
    found = (one.call.role for one in route.dependant.dependencies if isinstance(one.call, Requirement))
    return next(found, "")


Viewer = Annotated[Principal, Depends(Requirement(Role.VIEWER))]
"""May look, at the service that the address names or at everything."""
Operator = Annotated[Principal, Depends(Requirement(Role.OPERATOR))]
"""May change what the address names."""
Admin = Annotated[Principal, Depends(Requirement(Role.ADMIN))]
"""May give access."""
AnyViewer = Annotated[Principal, Depends(Requirement(Role.VIEWER, some_service=True))]
"""May look at some service; the endpoint checks which."""
AnyOperator = Annotated[Principal, Depends(Requirement(Role.OPERATOR, some_service=True))]
"""May change some service; the endpoint checks which."""

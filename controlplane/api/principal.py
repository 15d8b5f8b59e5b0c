"""Who asks, and what an endpoint requires of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

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


def _of_service(role: Role) -> Callable[[Request], Principal]:
    def check(request: Request) -> Principal:
        principal = who_asks(request)
        principal.require(role, request.path_params.get("service") or request.query_params.get("service"))
        return principal

    return check


def _of_any(role: Role) -> Callable[[Request], Principal]:
    def check(request: Request) -> Principal:
        principal = who_asks(request)
        if not principal.role.includes(role):
            principal.require(role)
        return principal

    return check


Viewer = Annotated[Principal, Depends(_of_service(Role.VIEWER))]
"""May look, at the service that the address names or at everything."""
Operator = Annotated[Principal, Depends(_of_service(Role.OPERATOR))]
"""May change what the address names."""
Admin = Annotated[Principal, Depends(_of_service(Role.ADMIN))]
"""May give access."""
AnyViewer = Annotated[Principal, Depends(_of_any(Role.VIEWER))]
"""May look at some service; the endpoint checks which."""
AnyOperator = Annotated[Principal, Depends(_of_any(Role.OPERATOR))]
"""May change some service; the endpoint checks which."""

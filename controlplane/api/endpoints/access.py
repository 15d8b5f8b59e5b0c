"""Access: who one is, sessions of browsers, and tokens."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from contracts.ids import parse_name
from contracts.units import parse_duration_s
from controlplane.api.context import Context
from controlplane.api.documents import Body, Name, Reason, TokenDocument
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import RecordId, Why
from controlplane.api.principal import Admin, AnyViewer, Principal
from controlplane.api.route import GuardedRoute, take_key, without
from controlplane.api.sessions import COOKIE
from controlplane.api.telling import tell_token
from controlplane.store.tokens import Role

router = APIRouter(route_class=GuardedRoute, tags=["access"])


class Identity(BaseModel):
    """Who asks, what they may do, and what they came with: token, session, oidc or anonymous."""

    actor: str
    role: str
    scopes: list[str]
    via: str
    expires_s: float | None


class SessionBody(Body):
    """The token that a browser shall be logged in with."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class TokenBody(Body):
    """A token to be made; no ``scopes`` means all services, no ``lifetime`` for ever."""

    holder: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(?:.*\S)?$")]
    role: Literal["viewer", "operator", "approver", "admin"]
    reason: Reason
    scopes: Annotated[list[Name], Field(max_length=100)] = Field(default_factory=list)
    lifetime: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhdw]$", examples=["30d", "12h"])] | None = None


class TokenMade(TokenDocument):
    """A token and its ``text``, which is told this once; null when the answer is given again."""

    text: str | None


@router.get("/whoami")
def who_am_i(who: AnyViewer) -> Identity:
    """Tell who asks."""
    return _identify(who)


@router.post("/session", status_code=201)
def begin_session(body: SessionBody, request: Request, response: Response, context: Context) -> Identity:
    """Log a browser in: exchange a token for a cookie that scripts can't read, and that ends with the token."""
    token = context.stores.tokens.check(body.token)
    response.set_cookie(
        COOKIE,
        context.sessions.begin(token),
        max_age=int(context.sessions.length_s),
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    response.headers["cache-control"] = "no-store"
    return _identify(Principal(token, "session"))


@router.delete("/session", status_code=204)
def end_session(request: Request, response: Response, context: Context) -> None:
    """Log a browser out."""
    context.sessions.end(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


@router.get("/tokens")
def list_tokens(who: Admin, context: Context, cursor: Cursor = None, limit: Limit = 100) -> Page[TokenDocument]:
    """List all tokens, expired and revoked ones too, the newest first."""
    return cut([tell_token(token) for token in context.stores.tokens.list()], cursor, limit)


@router.post("/tokens", status_code=201, dependencies=[Depends(take_key)])
def create_token(body: TokenBody, who: Admin, request: Request, response: Response, context: Context) -> TokenMade:
    """Make a token; its text is told this once."""
    lifetime_s = parse_duration_s(body.lifetime) if body.lifetime is not None else None
    token, text = context.stores.tokens.create(
        body.holder,
        Role(body.role),
        actor=who.actor,
        reason=body.reason,
        scopes=[parse_name(scope, "scopes") for scope in body.scopes],
        lifetime_s=lifetime_s,
    )
    made = TokenMade(**tell_token(token).model_dump(), text=text)
    request.state.told_again = without(made.model_dump(mode="json"), "text")
    response.headers["cache-control"] = "no-store"
    return made


@router.delete("/tokens/{token}", dependencies=[Depends(take_key)])
def revoke_token(token: RecordId, reason: Why, who: Admin, context: Context) -> TokenDocument:
    """End a token, and all sessions that were begun with it, now."""
    return tell_token(context.stores.tokens.revoke(token, actor=who.actor, reason=reason))


def _identify(who: Principal) -> Identity:
    return Identity(
        actor=who.actor,
        role=who.role.value,
        scopes=list(who.grant.scopes),
        via=who.via,
        expires_s=who.grant.expires_s,
    )

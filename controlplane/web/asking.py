"""How a person is asked for what an action needs: what it would do, a choice, the reason, and the same as a command."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from contracts.errors import InvalidInput, RoostError
from controlplane.statuses import status_of
from controlplane.web.answering import Answering
from controlplane.web.counter import Answer, Person, new_key

LARGEST_FORM = 20_000
UNTIL = "Until (UTC)"
ACTING = frozenset({"operator", "approver", "admin"})


@dataclass(frozen=True)
class Choice:
    """One thing to choose, and what follows from it."""

    value: str
    effect: str = ""


@dataclass(frozen=True)
class Field:
    """One thing to write beside the reason; ``kind`` is an HTML input's type."""

    name: str
    label: str
    kind: str = "text"
    value: str = ""
    required: bool = False
    placeholder: str = ""


@dataclass(frozen=True)
class Ask:
    """A question to whoever wants an action: ``effect`` in numbers, or ``why_not``; ``back`` is where they came from.

    Of ``choices`` one is taken if ``is_one``, else any number; ``fields`` are written. What ``is_grave`` is shown so.
    """

    name: str
    subject: str
    back: str
    action: str
    effect: str = ""
    why_not: str = ""
    question: str = ""
    choices: tuple[Choice, ...] = ()
    is_one: bool = False
    fields: tuple[Field, ...] = ()
    is_grave: bool = False
    command: str = ""

    @property
    def verb(self) -> str:
        """What the button says."""
        return self.name.removesuffix(" of")


def show_ask(
    answering: Answering,
    request: Request,
    ask: Ask,
    answer: Answer | None = None,
    form: Mapping[str, str] | None = None,
) -> Response:
    """Return the page that asks, with the problem that an earlier try met."""
    given = form or {}
    fields = tuple(replace(field, value=given.get(field.name, field.value)) for field in ask.fields)
    context: dict[str, object] = {
        "ask": replace(ask, fields=fields),
        "answer": answer,
        "reason": given.get("reason", ""),
    }
    status = answer.status if answer is not None else 200
    return answering.plain("ask", ask.name, {**context, "key": new_key()}, request, status)


def why_not_acting(person: Person) -> str:
    """Return why somebody can't ask for changes, or ""."""
    if person.role in ACTING:
        return ""
    return f"your role is {person.role}; this needs an operator" if person.is_known else "log in first"


def read_moment(text: str) -> float | None:
    """Return a time in UTC as browsers write it, in seconds since 1970; None for none.

    Raises:
        InvalidInput: when it is no time.
    """
    if not text.strip():
        return None
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InvalidInput(f"until: {text[:40]!r} is not a time", hint="write it in UTC: 2026-11-21T18:00") from None


def write_moment(at_s: float) -> str:
    """Return a time in UTC as browsers read it, to the minute."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M")


def capitalise(sentence: str) -> str:
    """Return a sentence with a capital at its beginning, unless it begins with a name."""
    return sentence[:1].upper() + sentence[1:]


def refuse(error: RoostError) -> Answer:
    """Return what the API would have answered to something that can't be asked."""
    return Answer(status_of(error), {"detail": error.message, "hint": error.hint, "code": error.code})


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields; several values of one name are joined by commas.

    Raises:
        InvalidInput: when it is too large, or no form.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_FORM:
            raise InvalidInput("the form is too large", hint="write a shorter reason")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise InvalidInput("the form can't be read", hint="send it from our own page") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


def redirect(address: str, answer: Answer) -> Response:
    """Lead onward after something was done, with the cookies that the API gave."""
    response = RedirectResponse(address, status_code=303)
    for cookie in answer.cookies:
        response.headers.append("set-cookie", cookie)
    return response

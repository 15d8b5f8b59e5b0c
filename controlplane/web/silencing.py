"""Silences of objectives: those that hold, and the pages on which people ask for one."""

from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.errors import InvalidInput
from controlplane.web.answering import Answering
from controlplane.web.asking import (
    UNTIL,
    Ask,
    Field,
    read_form,
    read_moment,
    redirect,
    refuse,
    show_ask,
    why_not_acting,
    write_moment,
)
from controlplane.web.counter import Counter
from controlplane.web.gate import person_of

HOUR_S, DAY_S = 3600, 86400
BURN, ALARM = "slos", "monitors"


def add_silencing(router: APIRouter, answering: Answering, counter: Counter) -> None:
    """Add the pages on which people silence an objective, or acknowledge what a monitor says."""
    _add(router, answering, counter, BURN, "silence")
    _add(router, answering, counter, ALARM, "acknowledge")


def _ask(answering: Answering, request: Request, kind: str, service: str, name: str) -> Ask:
    verb, length_s, last = ("silence", HOUR_S, "1h") if kind == BURN else ("acknowledge", DAY_S, "1d")
    what = "how fast it burns" if kind == BURN else "its alarms"
    does = "measured, shown and decided on" if kind == BURN else "measured and shown, and does what its spec says"
    return Ask(
        verb.capitalize(),
        f"{service} {name}",
        f"/slos#slo-{service}-{name}" if kind == BURN else "/quality#monitors",
        f"/services/{quote(service, safe='')}/{kind}/{quote(name, safe='')}/{verb}",
        effect=f"Nobody is told of {what} until then; it is {does} as before",
        why_not=why_not_acting(person_of(request)),
        fields=(
            Field("until", UNTIL, "datetime-local", write_moment(answering.home.now_s() + length_s), required=True),
        ),
        command=f"roost slo silence {service} {name} --for {last} --reason '…'",
    )


def _add(router: APIRouter, answering: Answering, counter: Counter, kind: str, verb: str) -> None:
    path = f"/services/{{service}}/{kind}/{{name}}/{verb}"

    @router.get(path)
    async def show_silence(service: str, name: str, request: Request) -> Response:
        """Ask until when and why nobody is to be told."""
        return show_ask(answering, request, _ask(answering, request, kind, service, name))

    @router.post(path)
    async def silence(service: str, name: str, request: Request) -> Response:
        """Silence an objective's or a monitor's messages."""
        ask, form = _ask(answering, request, kind, service, name), await read_form(request)
        document: dict[str, Any] = {"objective": name, "reason": form.get("reason", "")}
        try:
            document["until_s"] = read_moment(form.get("until", ""))
            silences = f"/services/{quote(service, safe='')}/silences"
            answer = await counter.ask(request, "POST", silences, document, key=form.get("key", ""))
        except InvalidInput as error:
            answer = refuse(error)
        if not answer.is_done:
            return show_ask(answering, request, ask, answer, form)
        return redirect(ask.back, answer)

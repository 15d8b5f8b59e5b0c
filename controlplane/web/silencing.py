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

HOUR_S = 3600


def add_silencing(router: APIRouter, answering: Answering, counter: Counter) -> None:
    """Add the pages."""

    def ask_for(request: Request, service: str, objective: str) -> Ask:
        until = write_moment(answering.home.now_s() + HOUR_S)
        return Ask(
            "Silence",
            f"{service} {objective}",
            f"/slos#slo-{service}-{objective}",
            f"/services/{quote(service, safe='')}/slos/{quote(objective, safe='')}/silence",
            effect="Nobody is told how fast it burns until then; it is measured, shown and decided on as before",
            why_not=why_not_acting(person_of(request)),
            fields=(Field("until", UNTIL, "datetime-local", until, required=True),),
            command=f"roost slo silence {service} {objective} --for 1h --reason '…'",
        )

    @router.get("/services/{service}/slos/{objective}/silence")
    async def show_silence(service: str, objective: str, request: Request) -> Response:
        """Ask until when and why nobody is to be told how an objective burns."""
        return show_ask(answering, request, ask_for(request, service, objective))

    @router.post("/services/{service}/slos/{objective}/silence")
    async def silence(service: str, objective: str, request: Request) -> Response:
        """Silence an objective's alerts."""
        ask, form = ask_for(request, service, objective), await read_form(request)
        document: dict[str, Any] = {"objective": objective, "reason": form.get("reason", "")}
        path = f"/services/{quote(service, safe='')}/silences"
        try:
            document["until_s"] = read_moment(form.get("until", ""))
            answer = await counter.ask(request, "POST", path, document, key=form.get("key", ""))
        except InvalidInput as error:
            answer = refuse(error)
        if not answer.is_done:
            return show_ask(answering, request, ask, answer, form)
        return redirect(ask.back, answer)

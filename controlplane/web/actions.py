"""What a person asks for on the pages: a session, an action on a rollout, a new one. Plain forms, with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.errors import InvalidInput, NotFound
from controlplane.web.answering import Answering
from controlplane.web.asking import Ask, Choice, read_form, redirect, show_ask, why_not_acting
from controlplane.web.counter import Answer, Counter, Person, new_key
from controlplane.web.gate import person_of
from controlplane.web.safety import add_safety
from controlplane.web.silencing import add_silencing
from controlplane.web.upkeep import add_upkeep

REHEARSED = "to see what it would do"
GRAVE = frozenset({"abort", "override"})
ASKED_BACK = frozenset({"abort", "override", "promote-all"})
"""What the command line asks back about, unless it is told `--yes`."""
NAMES = {
    "pause": "Pause",
    "resume": "Resume",
    "promote-step": "Promote one step",
    "promote-all": "Promote to all traffic",
    "abort": "Abort",
    "override": "Override gates",
}
COMMANDS = {
    "pause": "roost rollout pause {id}",
    "resume": "roost rollout resume {id}",
    "promote-step": "roost rollout promote {id}",
    "promote-all": "roost rollout promote {id} --all",
    "abort": "roost rollout abort {id}",
    "override": "roost rollout override {id}",
}


@dataclass(frozen=True)
class Offer:
    """One action as a page shows it: its name, its effect in numbers, or why it can't be asked for."""

    kind: str
    name: str
    allowed: bool
    why_not: str
    effect: str


async def tell_offers(counter: Counter, request: Request, rollout_id: str) -> dict[str, Any]:
    """Return what a person may ask of a rollout now, and what was asked of it; nothing where the API has no such."""
    answer = await counter.ask(request, "GET", f"/rollouts/{quote(rollout_id, safe='')}")
    if not answer.is_done:
        return {"offers": (), "wishes": (), "gates": (), "started": None, "headroom": ""}
    person = person_of(request)
    return {
        "offers": tuple(_offer(row, person) for row in answer.document["actions"]),
        "wishes": tuple(reversed(answer.document["wishes"][-5:])),
        "headroom": answer.document.get("headroom", ""),
        "started": {name: answer.document[name] for name in ("actor", "reason", "forced")},
        "gates": [row["gate"] for row in (answer.document["decision"] or {}).get("verdicts", ())],
    }


async def is_awaited(counter: Counter, request: Request, path: str) -> bool:
    """Tell whether a path is that of a rollout which was started and on which nothing was decided yet."""
    head, _, rollout_id = path.strip("/").partition("/")
    if head != "rollouts" or not rollout_id:
        return False
    return (await counter.ask(request, "GET", f"/rollouts/{quote(rollout_id, safe='')}")).is_done


def _offer(row: Mapping[str, Any], person: Person) -> Offer:
    why = why_not_acting(person) or row["why_not"]
    return Offer(row["name"], NAMES.get(row["name"], row["name"]), row["allowed"] and not why, why, row["effect"])


def add_actions(router: APIRouter, answering: Answering, counter: Counter) -> None:
    """Add the pages on which people ask for something."""
    _add_login(router, answering, counter)
    _add_rollout_actions(router, answering, counter)
    _add_start(router, answering, counter)
    add_safety(router, answering, counter)
    add_silencing(router, answering, counter)
    add_upkeep(router, answering, counter)


def _add_login(router: APIRouter, answering: Answering, counter: Counter) -> None:
    @router.get("/login")
    async def show_login(request: Request) -> Response:
        """Ask for a token."""
        return answering.plain(
            "login", "Log in", {"next": _local(request.query_params.get("next", "")), "answer": None}, request
        )

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        """Exchange a token for a session."""
        form = await read_form(request)
        onward = _local(form.get("next", ""))
        answer = await counter.ask(request, "POST", "/session", {"token": form.get("token", "").strip()})
        if not answer.is_done:
            return answering.plain("login", "Log in", {"next": onward, "answer": answer}, request, answer.status)
        return redirect(onward, answer)

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        """End the session."""
        answer = await counter.ask(request, "DELETE", "/session")
        if not answer.is_done:
            raise InvalidInput(answer.problem, hint=answer.hint)
        return redirect("/", answer)


def _add_rollout_actions(router: APIRouter, answering: Answering, counter: Counter) -> None:
    async def ask_for(request: Request, rollout_id: str, kind: str) -> Ask:
        told = await tell_offers(counter, request, rollout_id)
        offer = next((offer for offer in told["offers"] if offer.kind == kind), None)
        if offer is None:
            raise NotFound(f"{kind!r} can't be asked of {rollout_id}", hint="its page shows what can be")
        back = f"/rollouts/{quote(rollout_id, safe='')}"
        return Ask(
            name=offer.name,
            subject=rollout_id,
            back=back,
            action=f"{back}/actions/{kind}",
            effect=offer.effect,
            why_not=offer.why_not,
            question="Which gates (none: all of them)",
            choices=tuple(Choice(gate) for gate in told["gates"]) if kind == "override" else (),
            is_grave=kind in GRAVE,
            command=f"{COMMANDS[kind].format(id=rollout_id)} --reason '…'{' --yes' if kind in ASKED_BACK else ''}",
        )

    @router.get("/rollouts/{rollout_id}/actions/{kind}")
    async def show_action(rollout_id: str, kind: str, request: Request) -> Response:
        """Show what an action would do, and ask for the reason."""
        return show_ask(answering, request, await ask_for(request, rollout_id, kind))

    @router.post("/rollouts/{rollout_id}/actions/{kind}")
    async def take_action(rollout_id: str, kind: str, request: Request) -> Response:
        """Ask for an action."""
        form = await read_form(request)
        gates = [gate for gate in form.get("choice", "").split(",") if gate]
        document = {"kind": kind, "reason": form.get("reason", ""), "gates": gates}
        path = f"/rollouts/{quote(rollout_id, safe='')}"
        answer = await counter.ask(request, "POST", f"{path}/actions", document, key=form.get("key", ""))
        if not answer.is_done:
            return show_ask(answering, request, await ask_for(request, rollout_id, kind), answer, form)
        return redirect(f"{path}#asked", answer)


def _add_start(router: APIRouter, answering: Answering, counter: Counter) -> None:
    async def show(request: Request, form: Mapping[str, str], answer: Answer | None = None) -> Response:
        services = (await counter.ask(request, "GET", "/services")).document.get("items", ())
        version = form.get("version", "")
        serving = (row["name"] for row in services if row["model"] == version.partition("@")[0])
        wanted = {"service": form.get("service", "") or next(serving, ""), "version": version}
        force = form.get("force", "") == "1"
        preview = None
        if answer is None and all(wanted.values()):
            document = {**wanted, "reason": REHEARSED, "force": force}
            preview = await counter.ask(request, "POST", "/rollouts?dry_run=true", document)
        context = {"services": services, **wanted, "force": force, "preview": preview}
        more = {"answer": answer, "reason": form.get("reason", ""), "key": new_key()}
        status = answer.status if answer is not None else 200
        return answering.plain("start", "Start a rollout", {**context, **more}, request, status)

    @router.get("/start")
    async def show_start(request: Request) -> Response:
        """Show what a rollout would begin with, and ask for the reason."""
        return await show(request, dict(request.query_params))

    @router.post("/start")
    async def start(request: Request) -> Response:
        """Start a rollout."""
        form = await read_form(request)
        names = ("service", "version", "reason")
        document: dict[str, Any] = {name: form.get(name, "") for name in names}
        document["force"] = form.get("force", "") == "1"
        answer = await counter.ask(request, "POST", "/rollouts", document, key=form.get("key", ""))
        if not answer.is_done:
            return await show(request, form, answer)
        return redirect(f"/rollouts/{quote(answer.document['id'], safe='')}", answer)


def _local(address: str) -> str:
    """Return an address of ours to go to: what leads elsewhere leads to the first page."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain else "/"

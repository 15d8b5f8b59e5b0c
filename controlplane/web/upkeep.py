"""What people have done to versions: made smaller or faster, measured, adopted; and the jobs that are at it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.errors import NotFound
from controlplane.web.answering import Answering
from controlplane.web.asking import Ask, Field, capitalise, read_form, redirect, show_ask, why_not_acting
from controlplane.web.counter import Counter
from controlplane.web.gate import person_of

MOST_JOBS = 100
SHOWN_JOBS = 8
NAMES = {"optimise": "Optimize", "profile": "Profile"}
FIELDS = {
    "optimise": (
        Field("recipe", "Recipe, or several joined by +", required=True, placeholder="onnx-int8-dynamic+steps=4"),
        Field("device", "Device", value="cpu"),
        Field("prompts", "Prompt set, a file in the home's folder of prompts (optional)"),
        Field("scorer", "Scorer that must not get worse (optional)", placeholder="text-accuracy"),
    ),
    "profile": (
        Field("batches", "Batch sizes", value="1, 2, 4, 8", required=True),
        Field("device", "Device", value="cpu"),
        Field("budget_s", "Time to spend, in seconds", "number", "180", required=True),
    ),
}
COMMANDS = {
    "optimise": "roost model optimize {version} --recipe RECIPE --home {home}",
    "profile": "roost model profile {version} --home {home}",
}


async def tell_work(counter: Counter, request: Request, model: str) -> dict[str, Any]:
    """Return what may be asked of a model now: going back, for each service that it serves; and its newest jobs."""
    why = why_not_acting(person_of(request))
    undos: list[dict[str, Any]] = []
    services = await counter.ask(request, "GET", "/services")
    for row in services.document.get("items", ()):
        if row["model"] == model:
            told = await counter.ask(request, "GET", f"/services/{quote(row['name'], safe='')}/actions")
            offers = told.document.get("items", ())
            undos += [{**offer, "service": row["name"], "why_not": why or offer["why_not"]} for offer in offers]
    jobs = await counter.ask(request, "GET", f"/jobs?limit={MOST_JOBS}")
    about = [row for row in jobs.document.get("items", ()) if _is_about(row, model)]
    return {"undos": undos, "jobs": about[:SHOWN_JOBS], "why_not_acting": why}


def _is_about(job: Mapping[str, Any], model: str) -> bool:
    return str(job["arguments"].get("version", "")).startswith(f"{model}@")


def add_upkeep(router: APIRouter, answering: Answering, counter: Counter) -> None:
    """Add the pages on which people ask for work on a version."""
    _add_jobs(router, answering, counter)
    _add_adoption(router, answering, counter)


def _add_jobs(router: APIRouter, answering: Answering, counter: Counter) -> None:
    async def ask_for(request: Request, model: str, number: int, kind: str) -> Ask:
        version, path = f"{model}@{number}", f"/models/{quote(model, safe='')}/versions/{number}"
        found = await counter.ask(request, "GET", f"{path}/actions")
        offer = next((row for row in found.document.get("items", ()) if row["name"] == kind), None)
        if offer is None or kind not in NAMES:
            raise NotFound(found.problem or f"{kind!r} can't be asked of {version}", hint=found.hint)
        return Ask(
            NAMES[kind],
            version,
            f"/models/{quote(model, safe='')}#jobs",
            f"{path}/{kind}",
            effect=capitalise(offer["effect"]),
            why_not=why_not_acting(person_of(request)) or offer["why_not"],
            fields=FIELDS[kind],
            command=COMMANDS[kind].format(version=version, home=answering.home.name),
        )

    @router.get("/models/{model}/versions/{number}/{kind}")
    async def show_job(model: str, number: int, kind: str, request: Request) -> Response:
        """Show what a job on a version would do, and ask for what it needs."""
        return show_ask(answering, request, await ask_for(request, model, number, kind))

    @router.post("/models/{model}/versions/{number}/{kind}")
    async def submit_job(model: str, number: int, kind: str, request: Request) -> Response:
        """Ask for a job on a version."""
        form = await read_form(request)
        arguments = {"version": f"{model}@{number}", **_arguments(kind, form)}
        document = {"kind": kind, "reason": form.get("reason", ""), "arguments": arguments}
        answer = await counter.ask(request, "POST", "/jobs", document, key=form.get("key", ""))
        ask = await ask_for(request, model, number, kind) if not answer.is_done else None
        if ask is not None:
            return show_ask(answering, request, ask, answer, form)
        return redirect(f"/models/{quote(model, safe='')}#jobs", answer)


def _arguments(kind: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Return a job's arguments as somebody wrote them; what can't be read is left for the API to refuse."""
    given = {field.name: form.get(field.name, "").strip() for field in FIELDS.get(kind, ())}
    arguments: dict[str, Any] = {name: value for name, value in given.items() if value}
    if "batches" in arguments:
        arguments["batches"] = [_number(part) for part in arguments["batches"].split(",")]
    if "budget_s" in arguments:
        arguments["budget_s"] = _number(arguments["budget_s"])
    return arguments


def _number(text: str) -> int | str:
    return int(text) if text.strip().isdecimal() and len(text) < 10 else text


def _add_adoption(router: APIRouter, answering: Answering, counter: Counter) -> None:
    def ask_for(request: Request, model: str) -> Ask:
        back = f"/models/{quote(model, safe='')}"
        return Ask(
            "Register a version of",
            model,
            back,
            f"{back}/register",
            effect="The version of that number in MLflow is taken up: its files are inspected and their digests kept",
            why_not=why_not_acting(person_of(request)),
            fields=(Field("number", "Number of the version in MLflow", "number", required=True),),
            command=f"roost model register {model} FOLDER --home {answering.home.name}",
        )

    @router.get("/models/{model}/register")
    async def show_adoption(model: str, request: Request) -> Response:
        """Ask for the version that is to be taken up."""
        return show_ask(answering, request, ask_for(request, model))

    @router.post("/models/{model}/register")
    async def adopt(model: str, request: Request) -> Response:
        """Take up a version that was registered in MLflow by other means."""
        form = await read_form(request)
        document = {"number": _number(form.get("number", "")), "reason": form.get("reason", "")}
        path = f"/models/{quote(model, safe='')}/versions"
        answer = await counter.ask(request, "POST", path, document, key=form.get("key", ""))
        if not answer.is_done:
            return show_ask(answering, request, ask_for(request, model), answer, form)
        return redirect(f"/models/{quote(model, safe='')}", answer)

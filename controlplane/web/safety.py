"""Freezing, stopping, undoing, silencing: what holds now, and the pages on which people ask for it or lift it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from contracts.errors import InvalidInput, NotFound
from contracts.units import format_fraction
from controlplane.web.answering import Answering
from controlplane.web.asking import (
    UNTIL,
    Ask,
    Choice,
    Field,
    capitalise,
    read_form,
    read_moment,
    redirect,
    refuse,
    show_ask,
    why_not_acting,
)
from controlplane.web.counter import Counter
from controlplane.web.gate import person_of
from controlplane.web.views.story import Story
from rollout.phases import Phase

MOST_SERVICES = 30
ALL = "*"
VERBS = frozenset({"freeze", "kill", "undo"})
LIFTED = {
    "freezes": (
        "Rollouts may begin again; what was paused stays so until somebody resumes it",
        "roost service thaw",
        "/#holds",
    ),
    "kills": ("The version may be served again; nothing routes to it by that alone", "roost service revive", "/#holds"),
    "silences": ("People are told again how fast the objective burns", "roost slo unsilence", "/slos"),
}


@dataclass(frozen=True)
class Hold:
    """A freeze or a stopped version that holds: what it is of, who asked for it, when and why."""

    id: str
    kind: str
    subject: str
    actor: str
    reason: str
    since_s: float
    until_s: float | None


@dataclass(frozen=True)
class Guarded:
    """One service, and what holds in it."""

    service: str
    holds: tuple[Hold, ...]


async def tell_holds(counter: Counter, request: Request, now_s: float) -> tuple[Guarded, ...]:
    """Return the services with what holds in them now; what freezes all services is told with each."""
    services = await counter.ask(request, "GET", f"/services?limit={MOST_SERVICES}")
    found = []
    for row in services.document.get("items", ()):
        path = f"/services/{quote(row['name'], safe='')}"
        freezes, kills = [await counter.ask(request, "GET", f"{path}/{kind}") for kind in ("freezes", "kills")]
        holds = _freezes(freezes.document.get("items", ()), now_s) + _kills(kills.document.get("items", ()))
        found.append(Guarded(row["name"], tuple(holds)))
    return tuple(found)


def _freezes(rows: Sequence[dict[str, Any]], now_s: float) -> list[Hold]:
    return [
        Hold(
            row["id"], "freezes", "every service" if row["service"] == ALL else row["service"],
            row["actor"], row["reason"], row["from_s"], row["until_s"],
        )
        for row in rows
        if row["lifted_s"] is None and (row["until_s"] is None or row["until_s"] > now_s)
    ]  # fmt: skip


def _kills(rows: Sequence[dict[str, Any]]) -> list[Hold]:
    return [
        Hold(row["id"], "kills", row["version"], row["actor"], row["reason"], row["at_s"], None)
        for row in rows
        if row["lifted_s"] is None
    ]


def add_safety(router: APIRouter, answering: Answering, counter: Counter) -> None:
    """Add the pages that freeze, stop and lift."""
    desk = SafetyPages(answering, counter)
    router.add_api_route("/services/{service}/{verb}", desk.show, methods=["GET"])
    router.add_api_route("/services/{service}/{verb}", desk.take, methods=["POST"])
    router.add_api_route("/{kind}/{hold}/lift", desk.show_lift, methods=["GET"])
    router.add_api_route("/{kind}/{hold}/lift", desk.lift, methods=["POST"])


class SafetyPages:
    """The handlers."""

    def __init__(self, answering: Answering, counter: Counter) -> None:
        self._answering, self._counter = answering, counter

    async def show(self, service: str, verb: str, request: Request) -> Response:
        """Show what a freeze or a stop would do, and ask for the reason."""
        return show_ask(self._answering, request, await self._ask(service, verb, request))

    async def take(self, service: str, verb: str, request: Request) -> Response:
        """Freeze a service, or stop one of its versions."""
        ask = await self._ask(service, verb, request)
        form = await read_form(request)
        document: dict[str, Any] = {"reason": form.get("reason", "")}
        if verb == "kill":
            document["version"] = form.get("choice", "")
        path = f"/services/{quote(service, safe='')}/{'undo' if verb == 'undo' else f'{verb}s'}"
        try:
            if verb == "freeze":
                document["until_s"] = read_moment(form.get("until", ""))
            answer = await self._counter.ask(request, "POST", path, document, key=form.get("key", ""))
        except InvalidInput as error:
            answer = refuse(error)
        if not answer.is_done:
            return show_ask(self._answering, request, ask, answer, form)
        return redirect(ask.back if verb == "undo" else "/#holds", answer)

    async def show_lift(self, kind: str, hold: str, request: Request) -> Response:
        """Ask why something is to be lifted."""
        return show_ask(self._answering, request, _lift(kind, hold, request))

    async def lift(self, kind: str, hold: str, request: Request) -> Response:
        """Lift a freeze, or let a version be served again."""
        ask = _lift(kind, hold, request)
        form = await read_form(request)
        path = f"/{kind}/{quote(hold, safe='')}?{urlencode({'reason': form.get('reason', '')})}"
        answer = await self._counter.ask(request, "DELETE", path, key=form.get("key", ""))
        if not answer.is_done:
            return show_ask(self._answering, request, ask, answer, form)
        return redirect(ask.back, answer)

    async def _ask_undo(self, service: Mapping[str, Any], request: Request) -> Ask:
        name = service["name"]
        told = await self._counter.ask(request, "GET", f"/services/{quote(name, safe='')}/actions")
        offer = next((row for row in told.document.get("items", ()) if row["name"] == "undo"), None)
        return Ask(
            "Undo the champion of",
            name,
            f"/models/{quote(service['model'], safe='')}",
            f"/services/{quote(name, safe='')}/undo",
            effect=capitalise(offer["effect"]) if offer is not None else "",
            why_not=why_not_acting(person_of(request)) or (offer["why_not"] if offer is not None else told.problem),
            is_grave=True,
            command=f"roost service undo {name} --reason '…' --yes",
        )

    async def _ask(self, service: str, verb: str, request: Request) -> Ask:
        found = await self._counter.ask(request, "GET", f"/services/{quote(service, safe='')}")
        if verb not in VERBS or not found.is_done:
            raise NotFound(found.problem or f"{verb!r} can't be asked of a service", hint="the fleet shows what can be")
        if verb == "undo":
            return await self._ask_undo(found.document, request)
        story = self._answering.home.feed.chronicle.stories.get(found.document["rollout"] or "")
        action = f"/services/{quote(service, safe='')}/{verb}"
        why = why_not_acting(person_of(request))
        if verb == "freeze":
            return Ask(
                "Freeze",
                service,
                "/",
                action,
                effect=_tell_freeze(service, story),
                why_not=why,
                fields=(Field("until", f"{UNTIL}; empty: until it is lifted", "datetime-local"),),
                command=f"roost service freeze {service} --for 2d --reason '…'",
            )
        return Ask(
            "Stop a version of",
            service,
            "/",
            action,
            why_not=why,
            question="Which version: it gets no traffic from the next step on",
            choices=_versions(found.document, story),
            is_one=True,
            is_grave=True,
            command=f"roost service kill VERSION --service {service} --reason '…' --yes",
        )


def _tell_freeze(service: str, story: Story | None) -> str:
    told = f"No rollout of {service} begins until the freeze is lifted"
    if story is None or story.is_over or story.last.phase is Phase.PAUSED:
        return told
    return f"{told}; {story.rollout_id} is paused at {format_fraction(story.last.weight)} of traffic"


def _versions(service: Mapping[str, Any], story: Story | None) -> tuple[Choice, ...]:
    """Return the versions of a service that may have traffic, with what would follow from stopping each."""
    champion, previous = service["champion"], service["previous"]
    found = []
    if champion is not None:
        after = (
            f"{previous} takes over as soon as it is ready"
            if previous
            else f"{service['name']} answers 503 until it has another"
        )
        found.append(Choice(champion, f"the champion; {after}"))
    if story is not None and not story.is_over and story.challenger:
        share = format_fraction(story.last.weight)
        found.append(Choice(story.challenger, f"{story.rollout_id} ends; {share} of traffic returns to {champion}"))
    if previous is not None:
        found.append(Choice(previous, "it has no traffic now, and is not gone back to"))
    return tuple(found)


def _lift(kind: str, hold: str, request: Request) -> Ask:
    if kind not in LIFTED:
        raise NotFound(f"{kind!r} can't be lifted", hint="freezes, kills and silences can")
    effect, command, back = LIFTED[kind]
    why, action = why_not_acting(person_of(request)), f"/{kind}/{quote(hold, safe='')}/lift"
    command = f"{command} {hold} --reason '…'"
    return Ask("Lift", hold, back, action, effect=effect, why_not=why, command=command)

"""``roost traffic``: load a service as its users would, and tell what they saw."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import InvalidInput

if TYPE_CHECKING:
    from contracts.rng import Rng
    from serving.traffic.sending import TrafficPlan
    from serving.traffic.totals import TrafficTotals

DEFAULT_PROMPTS = ("the digits 4 2 7", "a handwritten seven", "price tag 5 9 in red ink on yellow paper")
EXAMPLE = "roost traffic http://127.0.0.1:8000 tags --rate 5 --duration 30s"


def traffic(
    url: Annotated[str, typer.Argument(help="The gateway: http://HOST:PORT.")],
    service: Annotated[str, typer.Argument(help="The service that is asked.")],
    *,
    rate: Annotated[float, typer.Option(help="Requests per second on average.")] = 1.0,
    duration: Annotated[str, typer.Option(help="For how long requests are sent: 30s, 10m.")] = "30s",
    count: Annotated[int | None, typer.Option(min=1, help="Send so many requests, however long it takes.")] = None,
    pattern: Annotated[str, typer.Option(help="poisson, bursty, diurnal or steady.")] = "poisson",
    period: Annotated[str, typer.Option(help="From burst to burst, or a day's length.")] = "10s",
    burst_factor: Annotated[float, typer.Option(help="How many times the average rate a burst has.")] = 5.0,
    users: Annotated[int, typer.Option(min=1, help="How many users take turns at random.")] = 50,
    prompts: Annotated[
        Path | None, typer.Option(help="A prompt per line (.txt), JSON lines or CSV; three of the demo's otherwise.")
    ] = None,
    lane: Annotated[str | None, typer.Option(help="Ask for this lane.")] = None,
    size: Annotated[str | None, typer.Option(help="Ask for this size: 64x32.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed sends the same requests at the same times.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Send requests that wait for nobody; latencies count from when each was meant to go. Ctrl-C ends it early."""
    import asyncio

    from contracts.notation import parse_duration_s
    from contracts.rng import SeededRng

    duration_s = None if count is not None else parse_duration_s(duration)
    arrivals = {"rate": rate, "pattern": pattern, "period": period, "burst_factor": burst_factor}
    plan = _plan(url, service, arrivals, prompts, users=users, lane=lane, size=size)
    totals, took_s = asyncio.run(_send(plan, SeededRng(seed), duration_s, count))
    typer.echo(json.dumps(totals.to_document(took_s)) if as_json else totals.to_text(took_s))
    if not totals.statuses[200]:
        raise typer.Exit(1)


def _plan(
    url: str,
    service: str,
    arrivals: dict[str, Any],
    prompts: Path | None,
    *,
    users: int,
    lane: str | None,
    size: str | None,
) -> "TrafficPlan":
    from pydantic import ValidationError

    from serving.traffic.arrivals import Arrivals
    from serving.traffic.prompts import read_prompts
    from serving.traffic.sending import TrafficPlan

    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"url: {url!r} is no address of a gateway", hint=EXAMPLE)
    try:
        when = Arrivals.model_validate(arrivals)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "-".join(map(str, first["loc"])).replace("_", "-")
        raise InvalidInput(f"{name}: {first['msg']} (got {first['input']!r})", hint=EXAMPLE) from None
    known = read_prompts(prompts) if prompts is not None else list(DEFAULT_PROMPTS)

    def choose(rng: "Rng") -> str:
        return known[rng.integer(len(known))]

    extra = {"size": size} if size is not None else {}
    headers = {"x-roost-lane": lane} if lane is not None else {}
    return TrafficPlan(url, service, when, choose, users=users, extra=extra, headers=headers)


async def _send(
    plan: "TrafficPlan", rng: "Rng", duration_s: float | None, count: int | None
) -> tuple["TrafficTotals", float]:
    """Send as planned, until the end or Ctrl-C; return what was seen and how long requests were sent."""
    import asyncio

    from serving.traffic.sending import send_traffic
    from serving.traffic.totals import TrafficTotals

    loop, stop, totals = asyncio.get_running_loop(), asyncio.Event(), TrafficTotals()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGINT, stop.set)
    begun_s = loop.time()
    await send_traffic(plan, totals, rng, stop, duration_s=duration_s, count=count)
    return totals, loop.time() - begun_s

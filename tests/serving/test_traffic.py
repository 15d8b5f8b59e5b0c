"""The load generator: arrivals as planned, the same for the same seed, and latencies that hide no waiting."""

import asyncio
import itertools
import json
import time
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound
from contracts.rng import Rng, SeededRng
from contracts.sketch import quantile_s
from controlplane.cli.main import app as command_line
from serving.traffic.arrivals import Arrivals, Pattern
from serving.traffic.prompts import read_prompts
from serving.traffic.sending import TrafficPlan, send_traffic
from serving.traffic.totals import TrafficTotals
from tests.serving.conftest import running


def arrivals_until(plan: Arrivals, end_s: float, seed: int = 1) -> list[float]:
    return list(itertools.takewhile(lambda at_s: at_s < end_s, plan.times_s(SeededRng(seed))))


@pytest.mark.parametrize("pattern", list(Pattern))
def test_every_pattern_keeps_the_rate_on_average(pattern: Pattern) -> None:
    times = arrivals_until(Arrivals(rate=50, pattern=pattern, period=10), 400)
    # 20 000 arrivals on average: five standard deviations of a Poisson count are 707.
    assert len(times) == pytest.approx(20_000, abs=707)
    assert times == sorted(times)


def test_bursts_and_days_have_their_shapes() -> None:
    bursty = arrivals_until(Arrivals(rate=50, pattern=Pattern.BURSTY, period=10, burst_factor=5), 200)
    assert all(at_s % 10 < 2 for at_s in bursty)
    daily = arrivals_until(Arrivals(rate=50, pattern=Pattern.DIURNAL, period=100), 1000)
    night = sum(at_s % 100 < 10 or at_s % 100 >= 90 for at_s in daily)
    noon = sum(40 <= at_s % 100 < 60 for at_s in daily)
    # Over a fifth of the sine around its ends the mean rates are 1 - 0.8 · 0.935 and 1 + 0.8 · 0.935 times the average.
    assert noon / night == pytest.approx(1.748 / 0.252, rel=0.15)


def test_gaps_of_poisson_arrivals_have_no_memory() -> None:
    times = arrivals_until(Arrivals(rate=100), 200)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean_s = sum(gaps) / len(gaps)
    variance = sum((gap - mean_s) ** 2 for gap in gaps) / len(gaps)
    assert variance**0.5 / mean_s == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": -1}, {"rate": 5, "pattern": "lumpy"}, {"rate": 5, "period": "0s"}]
)
def test_plans_that_can_not_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Arrivals.model_validate(wrong)


def plan_for(url: str, rate: float, pattern: Pattern = Pattern.STEADY) -> TrafficPlan:
    def choose(rng: Rng) -> str:
        return f"prompt {rng.integer(10)}"

    return TrafficPlan(url, "tags", Arrivals(rate=rate, pattern=pattern), choose, users=5)


def send(plan: TrafficPlan, count: int, seed: int = 3) -> TrafficTotals:
    totals = TrafficTotals()

    async def run() -> None:
        await send_traffic(plan, totals, SeededRng(seed), asyncio.Event(), count=count)

    asyncio.run(run())
    return totals


class Server:
    """A service that notes what it was asked; every fifth answer is a failure; ``stall_s`` holds all answers up."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.opens_at_s = 0.0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/v1/images/generations", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        self.asked.append(await request.json())
        number = len(self.asked)
        await asyncio.sleep(max(0.0, self.opens_at_s - time.monotonic()))
        if number % 5 == 0:
            return JSONResponse({"error": {"code": "overload", "message": "full"}}, 503)
        return JSONResponse({}, headers={"x-roost-version": f"m@{number % 2}", "x-roost-lane": "draft"})


def test_what_was_seen_is_counted_exactly() -> None:
    server = Server()
    with running(server.app()) as url:
        totals = send(plan_for(url, 500), 100)
    assert totals.statuses == {200: 80, 503: 20}
    assert totals.versions == {"m@0": 40, "m@1": 40, "none": 20}
    assert totals.lanes == {"draft": 80, "": 20}
    assert totals.causes == {"overload": 20}
    assert (totals.sent, totals.bad, totals.not_sent) == (100, 20, 0)
    assert sum(totals.latency.values()) == 80


def test_the_same_seed_sends_the_same_requests() -> None:
    plan = plan_for("http://unused", 10, Pattern.BURSTY)
    first, again, other = (list(itertools.islice(plan.requests(SeededRng(s)), 50)) for s in (1, 1, 2))
    assert first == again != other
    assert len({str(body["user"]) for _, body in first}) > 1


def test_a_stall_counts_against_every_request_that_was_due_in_it() -> None:
    """A closed loop would have one slow request here; ours are due all the same, and each waited."""
    server = Server()
    with running(server.app()) as url:
        begun_s = time.monotonic()
        server.opens_at_s = begun_s + 1.0
        plan = plan_for(url, 100)
        totals = send(plan, 100)
        took_s = time.monotonic() - begun_s
    due_s = [at_s for at_s, _ in itertools.islice(plan.requests(SeededRng(3)), 100)]
    median_s = quantile_s(totals.latency, 0.5)
    assert len(server.asked) == 100
    assert median_s is not None
    # However slow the machine, who is due later waits less: 40 of the 80 answers were due after the 40th request.
    assert 0.3 < median_s < 1.05 * (took_s - due_s[40])


def test_nobody_listening_is_a_count_and_not_a_crash() -> None:
    totals = send(plan_for("http://127.0.0.1:9", 200), 10)
    assert totals.statuses == {0: 10}
    assert totals.bad == 10
    assert sum(totals.causes.values()) == 10


def test_requests_beyond_the_bound_are_told() -> None:
    server = Server()
    with running(server.app()) as url:
        server.opens_at_s = time.monotonic() + 1.0
        plan = plan_for(url, 200)
        totals = send(TrafficPlan(url, "tags", plan.arrivals, plan.prompt, most_in_flight=7), 20)
    assert totals.not_sent == 13
    assert totals.sent == 7


def test_stopping_waits_for_the_answers_under_way() -> None:
    server = Server()
    totals = TrafficTotals()

    async def run(url: str) -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, stop.set)
        server.opens_at_s = time.monotonic() + 0.6
        await send_traffic(plan_for(url, 50), totals, SeededRng(1), stop)

    with running(server.app()) as url:
        asyncio.run(run(url))
    assert 0 < totals.sent == len(server.asked) < 30


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a red seven\n\n  a blue four \n"),
        ("a.jsonl", '{"prompt": "a red seven", "tag": 1}\n\n"a blue four"\n'),
        ("a.csv", 'id,prompt\n1,a red seven\n2,"a blue four"\n3,\n'),
    ],
)
def test_prompt_sets_are_read_from_text_json_lines_and_csv(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == ["a red seven", "a blue four"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", b"\n \n", "holds none"),
        ("a.txt", b"\xff\xfe\x00", "can't be read as text"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": 3}\n', "line 2"),
        ("a.jsonl", b"{", "line 1"),
        ("a.csv", b"text\nx\n", "no column 'prompt'"),
    ],
)
def test_prompt_sets_that_are_none_are_told(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=told):
        read_prompts(tmp_path / name)


def test_a_prompt_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        read_prompts(tmp_path / "nope.txt")


def test_the_command_prints_what_users_saw() -> None:
    server = Server()
    with running(server.app()) as url:
        arguments = ["traffic", url, "tags", "--rate", "200", "--count", "40", "--lane", "draft", "--json"]
        result = CliRunner().invoke(command_line, arguments, catch_exceptions=False)
    document = json.loads(result.stdout)
    assert (document["sent"], document["good"], document["statuses"]) == (40, 32, {"200": 32, "503": 8})
    assert sum(count for _, count in document["histogram"]) == 32
    assert all(body["model"] == "tags" for body in server.asked)

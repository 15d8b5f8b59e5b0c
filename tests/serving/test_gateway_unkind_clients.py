"""Clients that cut, pipeline, leave and ask for nonsense; workers that fail: all are counted once, no slot is lost."""

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.clock import SystemClock
from contracts.rng import SystemRng
from contracts.specs.service import Cache, Fallback, Limits
from contracts.wire.gateway import GatewaySpec
from contracts.wire.routing import Endpoint
from contracts.wire.worker import FailureReason, GenerateRequest
from serving.gateway.app import Gateway
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture
from tests.serving.conftest import (
    CHALLENGER,
    CHAMPION,
    CONTROL_TOKEN,
    Bench,
    ScriptedRuntime,
    running,
    running_worker,
)

pytestmark = pytest.mark.slow
CLIENTS, DURATION_S = 20, 4.0
FALLBACK = Fallback.model_validate({"on": ["oom", "error", "overload"], "to": "champion", "retry_budget": 0.5})
LENGTH = re.compile(rb"content-length: (\d+)")


class MoodyRuntime(ScriptedRuntime):
    """Draws at once or a little later, and fails one time in ten."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        time.sleep(0.01 * self._chance.random())
        if self._chance.random() < 0.1:
            raise DrawFailure(self._chance.choice([FailureReason.OOM, FailureReason.ERROR]), "moody")
        return super().draw(requests, after_step)


class UnkindClients:
    """What many clients sent and were told: answers by status, and how many requests somebody didn't wait for."""

    def __init__(self, url: str, chance: random.Random) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._host, self._port, self._chance = host, int(port), chance
        self.answers: Counter[int] = Counter()
        self.left = 0

    async def run(self) -> None:
        until_s = asyncio.get_running_loop().time() + DURATION_S
        await asyncio.gather(*(self._behave(until_s) for _ in range(CLIENTS)))

    async def _behave(self, until_s: float) -> None:
        while asyncio.get_running_loop().time() < until_s:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                for _ in range(self._chance.randint(1, 8)):
                    await self._ask(reader, writer)
            except ConnectionAbortedError:
                pass
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pipelined = self._chance.choice([1, 1, 1, 1, 2, 3])
        data = b"".join(self._request() for _ in range(pipelined))
        cuts = sorted(self._chance.sample(range(1, len(data)), self._chance.choice([0, 0, 0, 1, 2, 3])))
        for start, end in pairwise((0, *cuts, len(data))):
            writer.write(data[start:end])
            await writer.drain()
            if cuts:
                await asyncio.sleep(0.01 * self._chance.random())
        if self._chance.random() < 0.05:
            self.left += pipelined
            writer.transport.abort()
            raise ConnectionAbortedError
        for _ in range(pipelined):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            length = LENGTH.search(head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            self.answers[int(head[9:12])] += 1

    def _request(self) -> bytes:
        number = self._chance.randrange(10**6)
        asked: dict[str, object] = {"model": "tags", "prompt": f"tag {number}", "user": f"user-{number % 7}"}
        unusual: list[dict[str, object]] = [{"seed": number % 3}, {"n": 2}, {"size": "7x7"}, {"wrong": 1}]
        if self._chance.random() < 0.25:
            asked |= self._chance.choice(unusual)
        body = json.dumps(asked).encode()
        return b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture
def moody(tmp_path: Path) -> Iterator[Bench]:
    chance = random.Random(4)
    spec = GatewaySpec(
        name="g1",
        control_token=CONTROL_TOKEN,
        state_directory=str(tmp_path / "state"),
        access_log=str(tmp_path / "access.jsonl"),
    )
    with (
        running_worker(CHAMPION, MoodyRuntime(chance)) as first,
        running_worker(CHALLENGER, MoodyRuntime(chance)) as second,
        running(Gateway(spec, SystemClock(), SystemRng()).app()) as url,
    ):
        wide = {"max_concurrency": 3}
        endpoints: dict[str, tuple[Endpoint, ...]] = {
            str(CHAMPION): (first.model_copy(update=wide),),
            str(CHALLENGER): (second.model_copy(update=wide),),
        }
        built = Bench(url, endpoints)
        yield built
        built.client.close()
        built.http.close()


def test_every_request_is_counted_and_logged_once_whatever_clients_do(
    moody: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits.model_validate({"timeout": "2s", "max_queue": 8, "max_pictures": 4})
    moody.route(0.3, mirror_share=0.1, limits=limits, cache=Cache.model_validate({"ttl": "1s"}), fallback=FALLBACK)
    clients = UnkindClients(moody.url, random.Random(5))
    asyncio.run(clients.run())
    counted, n_logged, in_use = settled(moody, tmp_path / "access.jsonl")
    answers = clients.answers
    told = {"good": answers[200], "refused": answers[400], "bad": answers[429] + answers[500] + answers[503]}
    assert sum(answers.values()) == sum(told.values()) > 100
    # Who left may have been answered just before, or never have been understood.
    for outcome, number in told.items():
        assert number <= counted[outcome] <= number + clients.left, outcome
    assert n_logged == counted.total() <= sum(answers.values()) + clients.left
    assert in_use == 0
    assert not caplog.text


def settled(bench: Bench, log: Path) -> tuple[Counter[str], int, float]:
    """Return outcomes, lines of the access log and slots in use, once nothing changes any more."""
    counted: Counter[str] = Counter()
    before, n_logged, in_use = None, 0, 0.0
    deadline_s = time.monotonic() + 20
    while before != (counted.total(), n_logged) and time.monotonic() < deadline_s:
        before = (counted.total(), n_logged)
        time.sleep(2.5)  # longer than a client may be waited for, and than the log waits
        for batch in bench.client.pull().batches:
            for row in batch.requests:
                counted.update({"good": row.total - row.bad, "bad": row.bad, "gone": row.cancelled})
            counted["refused"] += sum(row.total for row in batch.refusals)
        n_logged = len(log.read_text().splitlines())
        families = text_string_to_metric_families(bench.http.get("/metrics").text)
        in_use = sum(s.value for family in families for s in family.samples if "outstanding" in s.name)
    return counted, n_logged, in_use

"""The stream over a real server: what is written comes, and who comes back misses nothing and gets nothing twice."""

import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from controlplane.api.access import AccessSpec
from controlplane.api.app import PREFIX
from controlplane.store.tokens import Role
from tests.api.ground import Ground
from tests.controlplane.postgres import wait_for


@contextmanager
def serving(ground: Ground) -> Iterator[str]:
    """Serve the API on loopback, and end every stream with it."""
    config = uvicorn.Config(
        ground.app, port=0, interface="asgi3", log_level="error", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PREFIX}"
    finally:
        ground.home.feed.closed = True
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(ground: Ground) -> Iterator[str]:
    with ground.client() as client:
        ground.apply(client).raise_for_status()
        ground.start(client).raise_for_status()
    with serving(ground) as url:
        yield url


def listen(url: str, token: str, **asked: Any) -> Generator[dict[str, str]]:
    """Yield the events of a stream that is opened now, each with its id."""
    headers = {"authorization": f"Bearer {token}", **asked.pop("headers", {})}
    with httpx.stream("GET", f"{url}/stream", headers=headers, timeout=30.0, **asked) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name:
                event[name] = value
            elif event:
                yield event
                event = {}


def read(url: str, token: str, n: int, **asked: Any) -> list[dict[str, str]]:
    """Return the first ``n`` events of a stream."""
    events = listen(url, token, **asked)
    with closing(events):
        return list(islice(events, n))


def sequences(events: list[dict[str, str]]) -> list[int]:
    return [json.loads(event["data"])["sequence"] for event in events if event["event"] == "decision"]


def tell(ground: Ground, key: str) -> None:
    with ground.stores.database.write() as connection:
        document = {"code": "gate.harm-proven", "message": key}
        ground.stores.outbox.put(connection, key=key, topic="gate.harm-proven", document=document)


def test_what_is_written_comes_while_one_listens(ground: Ground, address: str) -> None:
    with closing(listen(address, ground.token(Role.VIEWER))) as events:
        assert next(events)["event"] == "begin"
        ground.progress()
        decided = next(events)
        tell(ground, "harm")
        told = next(events)
    assert (decided["event"], json.loads(decided["data"])["phase"]) == ("decision", "progressing")
    assert (told["event"], json.loads(told["data"])["message"]) == ("event", "harm")


def test_who_comes_back_misses_nothing_and_gets_nothing_twice(ground: Ground, address: str) -> None:
    token = ground.token(Role.VIEWER)
    for number in range(3):
        ground.progress()
        tell(ground, f"event {number}")
    whole = read(address, token, 7, params={"since": "0-0"})
    assert sequences(whole) == [0, 1, 2]
    for cut in range(len(whole) - 1):
        rest = read(address, token, len(whole) - cut, headers={"last-event-id": whole[cut]["id"]})
        assert rest[0]["event"] == "begin"
        assert rest[1:] == whole[cut + 1 :]


def test_a_position_that_is_none_is_refused(ground: Ground, address: str) -> None:
    headers = {"authorization": f"Bearer {ground.token(Role.VIEWER)}", "last-event-id": "nonsense"}
    assert httpx.get(f"{address}/stream", headers=headers).status_code == 422


def test_a_stream_needs_somebody_who_may_look(ground: Ground, address: str) -> None:
    headers = {"authorization": "Bearer rst_000000000000_" + "a" * 43}
    assert httpx.get(f"{address}/stream", headers=headers).status_code == 401
    scoped = {"authorization": f"Bearer {ground.token(Role.VIEWER, scopes=['tags'])}"}
    assert httpx.get(f"{address}/stream", headers=scoped).status_code == 403


def test_an_actor_may_listen_only_so_often_and_all_together_only_so_often(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(streams_per_actor=2, streams=3))
    eva, mia = (ground.token(Role.VIEWER, name) for name in ("eva", "mia"))
    headers = {name: {"authorization": f"Bearer {token}"} for name, token in (("eva", eva), ("mia", mia))}
    with serving(ground) as url, ExitStack() as open_ones:
        for token in (eva, eva, mia):
            events = open_ones.enter_context(closing(listen(url, token)))
            assert next(events)["event"] == "begin"
        third = httpx.get(f"{url}/stream", headers=headers["eva"])
        fourth = httpx.get(f"{url}/stream", headers=headers["mia"])
        assert (third.status_code, third.json()["code"]) == (429, "unavailable")
        assert "eva has 2 streams open" in third.json()["detail"]
        assert "retry-after" in third.headers
        assert (fourth.status_code, "all 3 streams" in fourth.json()["detail"]) == (503, True)
        open_ones.close()
        wait_for(lambda: not ground.context.places.taken)
        assert read(url, eva, 1)[0]["event"] == "begin"
    ground.close()


def test_many_decisions_come_in_order_past_one_reading(ground: Ground, address: str) -> None:
    (row,) = ground.stores.rollouts.living()
    record = {"rollout_id": row.id, "policy_digest": "", "observation": {}, "decision": {}}
    with ground.stores.database.write() as connection:
        ground.stores.ledger.write(connection, [{"at_s": float(n), **record} for n in range(450)])
    found = read(address, ground.token(Role.VIEWER), 451, params={"since": "0-0"})
    assert sequences(found) == list(range(450))

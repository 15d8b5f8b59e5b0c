"""What a worker makes of requests: batches of those that belong together, and no member that fails for another."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from contracts.ids import VersionId
from contracts.wire.capacity import CapacityModel, WorkerLimits
from contracts.wire.worker import BatchReply, FailureReason, GenerateRequest, WorkerSpec
from serving.worker.app import Worker
from serving.worker.guard import MemoryGuard
from serving.worker.runtimes.port import AfterStep, DrawFailure, Picture
from tests.serving.conftest import running

STEPS = 20
MIB = 1 << 20
CAPACITY = CapacityModel(
    device="cpu",
    memory_fixed_bytes=100 * MIB,
    memory_per_pixel_bytes=1024,
    memory_error=0.0,
    latency_fixed_s=0,
    latency_per_pixel_s=0,
    latency_per_step_s=0,
    latency_per_step_pixel_s=0,
    latency_error=0,
)


class SteppingRuntime:
    """Draws texts in ``STEPS`` steps of ``step_s``; holds while ``gate`` is closed; fails for prompts that say so."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s = step_s
        self.gate = threading.Event()
        self.gate.set()
        self.batches: list[list[str]] = []
        self.steps = 0
        self.largest_that_fits = 64

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        self.batches.append([request.prompt for request in requests])
        self.gate.wait(10)
        if len(requests) > self.largest_that_fits:
            raise DrawFailure(FailureReason.OOM, "out of memory")
        for request in requests:
            if request.prompt == "bad":
                raise ValueError("a prompt that breaks the model")
        for step in range(1, STEPS + 1):
            time.sleep(self.step_s)
            self.steps += 1
            after_step(step, STEPS, lambda member: f"{requests[member].prompt} so far".encode())
        return [f"{request.prompt} by {request.seed}".encode for request in requests]


@contextmanager
def worker(
    runtime: SteppingRuntime, limits: WorkerLimits | None = None, capacity: CapacityModel | None = None
) -> Iterator[httpx.Client]:
    spec = WorkerSpec(
        version=VersionId("m", 1),
        digest="sha256:" + "0" * 64,
        directory="unused",
        limits=limits or WorkerLimits(max_batch_size=4, max_queue=64),
        capacity=capacity,
    )
    with (
        running(Worker(spec, lambda _: runtime).app()) as url,
        httpx.Client(base_url=url, timeout=20, trust_env=False) as client,
    ):
        await_that(lambda: client.get("/health").json()["state"] == "ready")
        yield client


def await_that(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it does not come about"
        time.sleep(0.01)


def ask(client: httpx.Client, prompt: str, **settings: object) -> httpx.Response:
    return client.post("/generate", json={"prompt": prompt, "seed": 1, **settings})


def ask_all(client: httpx.Client, runtime: SteppingRuntime, wanted: list[dict[str, object]]) -> list[httpx.Response]:
    """Ask for a first picture, and for all others while it is being drawn; return the others' answers."""
    runtime.gate.clear()
    with ThreadPoolExecutor(len(wanted) + 1) as pool:
        first = pool.submit(ask, client, "first")
        await_that(lambda: runtime.batches == [["first"]])
        answers = []
        for count, body in enumerate(wanted, start=2):
            answers.append(pool.submit(client.post, "/generate", json={"seed": 1, **body}))
            await_that(lambda count=count: client.get("/health").json()["in_flight"] == count)  # type: ignore[misc]
        runtime.gate.set()
        assert first.result().status_code == 200
        return [answer.result() for answer in answers]


def test_requests_that_wait_together_are_drawn_together() -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        answers = ask_all(client, runtime, [{"prompt": name, "seed": 7} for name in "abcdef"])
    assert runtime.batches == [["first"], ["a", "b", "c", "d"], ["e", "f"]]
    assert [answer.text for answer in answers] == [f"{name} by 7" for name in "abcdef"]


def test_only_requests_of_one_shape_are_drawn_together() -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        wanted: list[dict[str, object]] = [
            {"prompt": "a", "steps": 4},
            {"prompt": "b", "width": 64},
            {"prompt": "c", "steps": 4},
            {"prompt": "d", "guidance": 1.5},
            {"prompt": "e", "width": 64},
            # What the version does by default is the same as asking for it.
            {"prompt": "f", "steps": 25},
            {"prompt": "g"},
        ]
        ask_all(client, runtime, wanted)
    assert runtime.batches[1:] == [["a", "c"], ["b", "e"], ["d"], ["f", "g"]]


def test_a_window_waits_for_others_and_not_longer_than_a_full_batch_needs() -> None:
    runtime = SteppingRuntime()
    limits = WorkerLimits(max_batch_size=3, batch_window_s=10, max_queue=64)
    with worker(runtime, limits) as client, ThreadPoolExecutor(3) as pool:
        begun_s = time.monotonic()
        answers = [pool.submit(ask, client, name) for name in "abc"]
        assert all(answer.result().status_code == 200 for answer in answers)
        assert time.monotonic() - begun_s < 9
    assert len(runtime.batches) == 1
    assert sorted(runtime.batches[0]) == ["a", "b", "c"]


def test_a_batch_of_one_is_drawn_when_the_window_is_over() -> None:
    runtime = SteppingRuntime()
    with worker(runtime, WorkerLimits(max_batch_size=3, batch_window_s=0.2)) as client:
        assert ask(client, "a").text == "a by 1"
    assert runtime.batches == [["a"]]


def test_a_member_that_fails_fails_alone() -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        answers = ask_all(client, runtime, [{"prompt": name} for name in ("a", "bad", "c")])
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert "breaks the model" in answers[1].json()["message"]


def test_a_batch_that_runs_out_of_memory_is_drawn_one_by_one() -> None:
    runtime = SteppingRuntime()
    runtime.largest_that_fits = 1
    with worker(runtime) as client:
        answers = ask_all(client, runtime, [{"prompt": name} for name in "abc"])
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert runtime.batches[1:] == [["a", "b", "c"], ["a"], ["b"], ["c"]]


def test_one_picture_that_runs_out_of_memory_is_told_and_the_worker_lives_on() -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        runtime.largest_that_fits = 0
        answer = ask(client, "a")
        runtime.largest_that_fits = 1
        assert (answer.status_code, answer.json()["reason"]) == (507, "oom")
        assert ask(client, "b").status_code == 200


def test_what_a_client_asks_for_as_a_batch_is_drawn_and_fails_as_one() -> None:
    runtime = SteppingRuntime()
    body = {"requests": [{"prompt": name, "seed": seed} for seed, name in enumerate("abcdefgh")]}
    with worker(runtime) as client:
        answer = client.post("/batch", json=body)
        reply = BatchReply.model_validate_json(answer.content)
        assert [picture.decode() for picture in reply.pictures] == [f"{n} by {s}" for s, n in enumerate("abcdefgh")]
        runtime.largest_that_fits = 7
        failed = client.post("/batch", json=body)
        assert (failed.status_code, failed.json()["reason"]) == (507, "oom")
        mixed = {"requests": [{"prompt": "a", "seed": 1, "steps": 2}, {"prompt": "b", "seed": 1, "steps": 3}]}
        assert client.post("/batch", json=mixed).status_code == 422
        assert client.post("/batch", json={"requests": []}).status_code == 422
    assert runtime.batches == [list("abcdefgh")] * 2


def test_what_the_profile_says_will_not_fit_is_refused_before_it_is_tried() -> None:
    runtime = SteppingRuntime()
    # 100 MiB and 1 KiB a pixel: 512 x 512 needs 356 MiB, 1024 x 512 612 MiB, two of 512 x 512 612 MiB.
    limits = WorkerLimits(max_batch_size=4, max_queue=64, memory_limit_bytes=500_000 * MIB)
    tight = MemoryGuard(CAPACITY, limits.model_copy(update={"memory_limit_bytes": 500 * MIB}))
    assert [tight.largest_batch(pixels) for pixels in (256 * 256, 512 * 512, 1024 * 512)] == [6, 1, 0]
    assert MemoryGuard(None, limits).largest_batch(1) is None
    small = CAPACITY.model_copy(update={"memory_per_pixel_bytes": 1024 * 1000.0})
    with worker(runtime, limits, small) as client:
        refused = ask(client, "a", width=1024, height=1024)
        assert (refused.status_code, refused.json()["reason"]) == (507, "oom-predicted")
        assert runtime.batches == []
        # 512 x 512 takes 250 GiB of the 488: one fits, two do not, and a batch of three is drawn in three.
        body = {"requests": [{"prompt": name, "seed": 1} for name in "abc"]}
        assert client.post("/batch", json=body).status_code == 200
    assert runtime.batches == [["a"], ["b"], ["c"]]


def test_time_that_is_up_ends_drawing_at_the_next_step() -> None:
    runtime = SteppingRuntime(step_s=0.05)
    with worker(runtime) as client:
        answer = ask(client, "a", time_left_s=0.2)
        assert (answer.status_code, answer.json()["reason"]) == (504, "timeout")
        begun = ask(client, "b", time_left_s=60)
        assert begun.status_code == 200
    # Without the stop "a" would have taken its 20 steps before "b" took its own.
    assert runtime.steps < 2 * STEPS - 5


def test_the_header_of_the_gateway_counts_as_time_left() -> None:
    runtime = SteppingRuntime(step_s=0.05)
    with worker(runtime) as client:
        body = {"prompt": "a", "seed": 1}
        late = client.post("/generate", json=body, headers={"x-roost-time-left-s": "0.1"})
        wrong = client.post("/generate", json=body, headers={"x-roost-time-left-s": "soon"})
    assert (late.status_code, wrong.status_code) == (504, 422)


def test_a_client_that_leaves_is_not_drawn_for() -> None:
    runtime = SteppingRuntime(step_s=0.05)
    with worker(runtime) as client:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}/generate", json={"prompt": "a", "seed": 1}, timeout=0.2, trust_env=False)
        assert ask(client, "b").status_code == 200
        assert client.get("/health").json()["pictures"] == 1
    assert runtime.steps < 2 * STEPS - 5


def test_a_member_that_leaves_does_not_stop_its_batch() -> None:
    runtime = SteppingRuntime(step_s=0.02)
    limits = WorkerLimits(max_batch_size=2, batch_window_s=5)
    with worker(runtime, limits) as client, ThreadPoolExecutor(2) as pool:
        leaving = pool.submit(ask, client, "a", time_left_s=0.2)
        staying = pool.submit(ask, client, "b")
        assert leaving.result().status_code == 504
        assert staying.result().text == "b by 1"
    assert len(runtime.batches) == 1


def test_partial_pictures_come_as_events_a_line_each() -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        answer = ask(client, "a", partial_images=2, steps=STEPS)
        events = [json.loads(line) for line in answer.text.splitlines()]
        failed = ask(client, "bad", partial_images=0)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [event["step"] for event in events if event["kind"] == "progress"] == list(range(1, STEPS + 1))
    assert [event["step"] for event in events if event["kind"] == "partial"] == [7, 13]
    assert (events[-1]["kind"], events[-1]["step"]) == ("picture", STEPS)
    assert json.loads(failed.text.splitlines()[-1])["failure"]["reason"] == "error"


def test_what_can_not_wait_any_more_is_refused_at_once() -> None:
    runtime = SteppingRuntime()
    with worker(runtime, WorkerLimits(max_queue=2)) as client:
        runtime.gate.clear()
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(ask, client, name) for name in "ab"]
            await_that(lambda: client.get("/health").json()["in_flight"] == 2)
            refused = ask(client, "c")
            runtime.gate.set()
            assert [answer.result().status_code for answer in waiting] == [200, 200]
    assert (refused.status_code, refused.json()["reason"]) == (503, "overload")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "body"),
        (b'{"prompt": "a"}', "seed"),
        (b'{"prompt": "a", "seed": 1, "steps": 0}', "steps"),
        (b'{"prompt": "a", "seed": 1, "width": 63}', "width"),
        (b'{"prompt": "a", "seed": 1, "strength": 1}', "strength"),
        (b'{"prompt": "a", "seed": 1, "time_left_s": NaN}', "time_left_s"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_requests_that_are_none_are_refused_with_the_field(content: bytes, told: str) -> None:
    runtime = SteppingRuntime()
    with worker(runtime) as client:
        answer = client.post("/generate", content=content)
        assert client.get("/nowhere").status_code == 404
        assert client.get("/generate").json()["reason"] == "refused"
        assert client.post("/infer", json={}).json()["message"].endswith("ask /generate")
    assert answer.status_code == 422
    assert told in answer.json()["message"]
    assert runtime.batches == []

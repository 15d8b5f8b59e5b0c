"""Monitors in the loop, and hooks against a real receiver that fails, answers late, or is somebody else."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from contracts.clock import FakeClock, SystemClock
from contracts.errors import InvalidInput
from contracts.events import Event
from contracts.ids import CHAMPION, VersionId, VersionRef
from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from contracts.wire.telemetry import SampledOutput, TelemetryBatch, TelemetryReply, UserSignals
from controlplane.hooks import MOST_ATTEMPTS, Hooks, check_url, keep_delivering, read_secret
from controlplane.notify.egress import signature
from controlplane.settings import Settings
from controlplane.store.history import History
from controlplane.watching import HistoryWatcher, MonitorWatcher, ServiceWatchers
from evaluation.scorers.port import Score
from rollout.phases import ManualKind, Phase
from tests.controlplane.conftest import SPEC as LOOP_SPEC
from tests.controlplane.conftest import Bench
from tests.controlplane.postgres import wait_for
from tests.controlplane.scripted_traffic import SeenText

CHALLENGER = VersionId("m", 2)
SECRET = b"a secret that is long enough"
SPEC = """
service: tags
model: m
slos: {availability: {objective: 98%%}}
monitors: {looks: {metric: looks, at_least: 90%%, action: %s%s}, patience: {metric: not-asked-again, at_least: 80%%}}
"""


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent, and answers with the next of ``answers``."""

    answers: ClassVar[list[int]] = []
    calls: ClassVar[list[tuple[dict[str, str], str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.calls.append(({name.lower(): value for name, value in self.headers.items()}, body))
        status = self.answers.pop(0) if self.answers else 200
        self.send_response(status)
        if status == 302:
            self.send_header("location", "http://127.0.0.1:9/")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.answers, Receiver.calls = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/retrain?token=t0psecret"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hooks(tmp_path: Path, clock: FakeClock) -> Iterator[Hooks]:
    found = Hooks(f"sqlite:///{tmp_path / 'hooks.db'}", clock, SECRET)
    yield found
    found.close()


def test_a_call_is_signed_and_made_once(hooks: Hooks, receiver: str) -> None:
    key = hooks.put(receiver, {"kind": "drift", "metric": "text"})
    assert hooks.put(receiver, {"kind": "drift", "metric": "text"}) == key
    assert hooks.deliver() == []
    assert hooks.deliver() == []
    ((headers, body),) = Receiver.calls
    expected = hmac.new(SECRET, f"{headers['x-roost-timestamp']}.{body}".encode(), hashlib.sha256).hexdigest()
    assert headers["x-roost-signature"] == f"v1={expected}"
    assert headers["idempotency-key"] == key
    assert json.loads(body) == {"kind": "drift", "metric": "text"}


def test_a_failing_receiver_is_tried_again_later_and_later_with_the_same_key(
    hooks: Hooks, receiver: str, clock: FakeClock
) -> None:
    Receiver.answers = [500, 302, 503]
    hooks.put(receiver, {"kind": "drift"})
    told = hooks.deliver()
    assert "answered 500; tried again in 2 s" in told[0]
    assert "t0psecret" not in told[0]
    assert hooks.deliver() == [], "it isn't due yet"
    for wait_s in (2, 4, 8):
        clock.advance(wait_s)
        hooks.deliver()
    assert hooks.waiting() == 0
    assert len({headers["idempotency-key"] for headers, _ in Receiver.calls}) == 1
    assert len(Receiver.calls) == 4


def test_a_receiver_that_never_answers_is_given_up_in_the_end(hooks: Hooks, clock: FakeClock) -> None:
    hooks.put("http://127.0.0.1:9/nobody", {"kind": "drift"})
    told: list[str] = []
    for _ in range(MOST_ATTEMPTS + 3):
        told += hooks.deliver()
        clock.advance(4000)
    assert len(told) == MOST_ATTEMPTS
    assert told[-1].endswith("given up")
    assert hooks.waiting() == 0


def test_the_outbox_survives_its_process(tmp_path: Path, clock: FakeClock, receiver: str) -> None:
    url = f"sqlite:///{tmp_path / 'hooks.db'}"
    first = Hooks(url, clock, SECRET)
    first.put(receiver, {"kind": "drift"})
    first.close()
    second = Hooks(url, clock, SECRET)
    assert second.deliver() == []
    assert len(Receiver.calls) == 1
    assert SECRET not in (tmp_path / "hooks.db").read_bytes()
    second.close()


def test_two_processes_that_look_at_once_make_a_call_once(
    tmp_path: Path, hooks: Hooks, receiver: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Hooks(f"sqlite:///{tmp_path / 'hooks.db'}", clock, SECRET)
    hooks.put(receiver, {"kind": "drift"})
    send = Hooks._send

    def send_while_the_other_looks(mine: Hooks, key: str, url: str, body: str) -> str:
        monkeypatch.setattr(Hooks, "_send", send)
        assert other.deliver() == []
        return send(mine, key, url, body)

    monkeypatch.setattr(Hooks, "_send", send_while_the_other_looks)
    assert hooks.deliver() == []
    assert len(Receiver.calls) == 1
    other.close()


def test_calls_are_made_as_they_fall_due_until_told_to_stop(
    tmp_path: Path, receiver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_HOOK_SECRET", SECRET.decode())
    monkeypatch.setattr("controlplane.hooks.LOOK_EVERY_S", 0.01)
    settings = Settings(tmp_path)
    asking = Hooks(settings.hooks_uri, SystemClock(), SECRET)
    stop = threading.Event()
    thread = threading.Thread(target=keep_delivering, args=(settings, stop))
    thread.start()
    try:
        asking.put(receiver, {"kind": "drift"})
        wait_for(lambda: asking.waiting() == 0)
    finally:
        stop.set()
        thread.join(20)
        asking.close()
    assert not thread.is_alive()
    assert len(Receiver.calls) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/x",
        "http://example.org/x",
        "https://user:word@example.org/x",
        "https:///x",
        "x",
        "http://8.8.8.8/",
    ],
)
def test_addresses_that_no_hook_may_call(url: str) -> None:
    with pytest.raises(InvalidInput, match="hook"):
        check_url(url)


def test_a_name_that_resolves_to_this_network_is_not_called(hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr("controlplane.notify.egress.socket.getaddrinfo", lambda *_, **__: found)
    hooks.put("https://innocent.example/x", {"kind": "drift"})
    assert "resolves to an address of this network" in hooks.deliver()[0]


def test_a_secret_is_needed_and_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock
) -> None:
    monkeypatch.delenv("ROOST_HOOK_SECRET", raising=False)
    with pytest.raises(InvalidInput, match="there is none"):
        read_secret(None)
    monkeypatch.setenv("ROOST_HOOK_SECRET", "from the environment")
    assert read_secret(None) == b"from the environment"
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    assert read_secret(file) == SECRET
    with pytest.raises(InvalidInput, match="shorter"):
        Hooks(f"sqlite:///{tmp_path / 'o.db'}", clock, b"short")
    assert signature(SECRET, "1", "{}") != signature(SECRET, "2", "{}")


class Looks:
    """A scorer that reads its score from the prompt."""

    name, digest = "looks", "sha256:l"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        return [Score(float(sample.prompt)) for sample in samples]


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    found = History(f"sqlite:///{tmp_path / 'history.db'}")
    yield found
    found.close()


def spec(action: str, hook: str = "") -> ServiceSpec:
    return load_service_spec(SPEC % (action, f", hook: '{hook}'" if hook else ""), subject="spec")


def reply(number: int, score: float, clock: FakeClock, version: int = 2, asked_again: int = 0) -> TelemetryReply:
    samples = tuple(
        SampledOutput(
            service="tags", version=VersionId("m", version), request_id=f"r{number}-{i}", lane="final",
            prompt=str(score), seed=1, at_s=clock.now_s(), image_png=b"",
        )
        for i in range(40)
    )  # fmt: skip
    signal = UserSignals(service="tags", version=VersionId("m", version), answered=40, asked_again=asked_again)
    batch = TelemetryBatch(
        gateway="g", boot="b", sequence=number, start_s=clock.now_s(), end_s=clock.now_s() + 1, table_revision=1,
        signals=(signal,),
    )  # fmt: skip
    return TelemetryReply(batches=(batch,), samples=samples)


def play(
    watcher: MonitorWatcher, clock: FakeClock, score: float, challenger: VersionId = CHALLENGER, **more: Any
) -> list[Any]:
    """Let twenty ticks pass, each after the scoring thread has ended its work."""
    actions: list[Any] = []
    for number in range(20):
        actions += watcher.look(reply(number, score, clock, **more), (), challenger)
        watcher._queue.join(10)
        clock.advance(1)
    return actions


@pytest.mark.parametrize(("action", "kind"), [("hold", ManualKind.PAUSE), ("roll-back", ManualKind.ABORT)])
def test_an_alarm_about_the_challenger_asks_for_what_the_spec_says(
    action: str, kind: ManualKind, history: History, clock: FakeClock
) -> None:
    events: list[Event] = []
    watcher = MonitorWatcher(spec(action), {"looks": Looks()}, history, clock, tell=events.append)
    assert play(watcher, clock, 0.97) == []
    asked = play(watcher, clock, 0.2)
    assert asked[0].kind is kind
    assert asked[0].actor == "monitor/looks"
    assert "below 0.9" in asked[0].reason
    assert events[0].code == "monitor.alarm"
    watcher.close()


def test_an_alarm_about_the_champion_or_a_telling_monitor_only_tells(history: History, clock: FakeClock) -> None:
    for action, challenger in (("roll-back", VersionId("m", 3)), ("tell", CHALLENGER)):
        events: list[Event] = []
        watcher = MonitorWatcher(spec(action), {"looks": Looks()}, history, clock, tell=events.append)
        assert play(watcher, clock, 0.2, challenger=challenger) == []
        assert events
        watcher.close()


def test_users_who_ask_again_are_an_alarm(history: History, clock: FakeClock) -> None:
    events: list[Event] = []
    watcher = MonitorWatcher(spec("tell"), {"looks": Looks()}, history, clock, tell=events.append)
    play(watcher, clock, 0.97, asked_again=20)
    assert any("not-asked-again of m@2 is below 0.8" in event.message for event in events)
    watcher.close()


def test_an_alarm_calls_its_hook_with_the_evidence(
    history: History, clock: FakeClock, hooks: Hooks, receiver: str
) -> None:
    watcher = MonitorWatcher(
        spec("tell", receiver), {"looks": Looks()}, history, clock, tell=history.record_event, hooks=hooks
    )
    play(watcher, clock, 0.2)
    assert hooks.deliver() == []
    body = json.loads(Receiver.calls[0][1])
    assert (body["kind"], body["version"], body["metric"]) == ("monitor.alarm", "m@2", "looks")
    assert body["evidence"] > 1000
    watcher.close()


@pytest.mark.parametrize(("action", "phase"), [("hold", Phase.PAUSED), ("roll-back", Phase.ABORTED)])
def test_in_a_real_loop_a_hold_pauses_and_a_roll_back_ends_the_rollout(
    tmp_path: Path, history: History, warm_up_calls: list[str], action: str, phase: Phase
) -> None:
    text = f"monitors: {{looks: {{metric: seen-text, at_least: 97%, action: {action}}}}}\nrollout:"
    with closing(Bench(tmp_path, LOOP_SPEC.replace("rollout:", text))) as bench:
        bench.traffic.wrong[2] = 0.11
        bench.watchers = ServiceWatchers(history, {"seen-text": SeenText()}, bench.clock)
        bench.controller = bench.control()
        bench.run(until=lambda d: d.state.phase is phase)
        told = [entry.decision["sentence"] for entry in bench.ledger.entries()]
        word = "paused" if phase is Phase.PAUSED else "aborted"
        assert any(f"{word} by monitor/looks" in sentence for sentence in told)
        assert "monitor.alarm" in {event.code for event in bench.told}
        assert bench.catalogue.aliases["m", CHAMPION] == bench.champion
        digest = bench.catalogue.get(VersionRef("m", number=2)).digest
        assert (bench.stores.rollouts.rolled_back("tags", digest) is not None) == (phase is Phase.ABORTED)


def test_what_a_monitor_cannot_do_is_refused_at_the_start(history: History, clock: FakeClock) -> None:
    with pytest.raises(InvalidInput, match="no score called"):
        MonitorWatcher(spec("tell"), {}, history, clock, tell=history.record_event)
    with pytest.raises(InvalidInput, match="needs a secret"):
        MonitorWatcher(
            spec("tell", "https://example.org/x"), {"looks": Looks()}, history, clock, tell=history.record_event
        )


def test_a_lost_history_costs_no_rollout(history: History, clock: FakeClock) -> None:
    with history.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE history_counts")
    assert HistoryWatcher(history).look(reply(2, 0.97, clock), (), CHALLENGER) == ()

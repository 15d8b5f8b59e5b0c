"""Commands that talk to a control plane, against a scripted one over real HTTP: outputs, questions, exit statuses."""

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from controlplane.cli import main as cli
from controlplane.cli import rollout_watch
from controlplane.cli.exit_status import MEANINGS
from controlplane.cli.output import lay_out

TOKEN = "rst_of_tests"
LONG_SENTENCE = "availability holds: the challenger fails 0.4 % of requests, the limit is 2 %; " * 3
VERDICT = {
    "gate": "availability",
    "sli": "availability",
    "family": "burn",
    "kind": "gate",
    "outcome": "inconclusive",
    "subject": "tags@2",
    "n": 412,
    "part": "",
    "sentence": "availability is not decided yet",
    "value": 0.004,
    "limit": 0.02,
    "evidence": 0.31,
    "needed": 100.0,
    "safe_evidence": 7.5,
    "safe_needed": 100.0,
}


def rollout(phase: str = "progressing", *, code: str = "ramp.awaiting-proof", weight: float = 0.25) -> dict[str, Any]:
    over = phase in {"promoted", "rolled-back", "aborted"}
    actions = [
        {"name": "pause", "allowed": True, "why_not": "", "effect": "tags@2 stays at 25 % of traffic"},
        {"name": "promote-all", "allowed": False, "why_not": "availability is not proven safe", "effect": ""},
        {"name": "abort", "allowed": True, "why_not": "", "effect": "25 % of traffic returns to tags@1"},
    ]
    return {
        "id": "tags-2-abcdef",
        "service": "tags",
        "champion": "tags@1",
        "challenger": "tags@2",
        "phase": phase,
        "ended": over,
        "weight": weight,
        "weight_applied": weight,
        "actor": "ann",
        "reason": "smaller",
        "forced": False,
        "created_s": 1_000.0,
        "updated_s": 1_090.0,
        "decision": {"sequence": 7, "at_s": 1_090.0, "code": code, "sentence": LONG_SENTENCE, "verdicts": [VERDICT]},
        "headroom": "both versions need 1 GiB of 4 GiB: all of it is there",
        "problem": "",
        "actions": actions,
        "wishes": [],
    }


class Scripted:
    """A control plane that answers what a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.course: list[dict[str, Any]] = [rollout()]
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.away = 0
        self.interrupts_at = 0
        self.app = FastAPI()
        self.app.add_api_route("/api/v1/{path:path}", self.answer, methods=["GET", "POST", "PUT", "DELETE"])
        self.url = ""

    def changes(self) -> list[tuple[str, str, Any]]:
        return [(method, path, body) for method, path, body, _ in self.asked if method != "GET"]

    async def answer(self, path: str, request: Request) -> Response:
        body = json.loads(await request.body() or "null") or dict(request.query_params)
        self.asked.append((request.method, path, body, dict(request.headers)))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "unauthenticated", "the token is not valid")
        if self.refusal is not None and request.method != "GET":
            return problem(*self.refusal)
        if len(self.asked) == self.interrupts_at:
            os.kill(os.getpid(), signal.SIGINT)
        if self.away > 0 and request.method == "GET":
            self.away -= 1
            return problem(503, "unavailable", "the database is away")
        if path == "rollouts" and request.method == "GET":
            return JSONResponse({"items": [self.course[0]], "next": None})
        if path.startswith("rollouts/nothing"):
            return problem(404, "not-found", "there is no rollout nothing", hint="roost rollout list")
        if path == "services":
            return JSONResponse({"items": [{"name": "tags", "model": "tags"}], "next": None})
        if request.method == "GET":
            return JSONResponse(self.course.pop(0) if len(self.course) > 1 else self.course[0])
        return JSONResponse({"id": "tags-2-abcdef", **rollout(), "revision": 3, "note": "", "changes": []})


def problem(status: int, code: str | dict[str, Any], detail: str = "", hint: str = "") -> Response:
    told = code if isinstance(code, dict) else {"code": code, "detail": detail, "hint": hint}
    return JSONResponse({"title": "Refused", "status": status, **told}, status, media_type="application/problem+json")


@pytest.fixture(scope="module")
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    config = uvicorn.Config(scripted.app, port=0, log_level="error", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    scripted.url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    yield scripted
    running.should_exit = True
    thread.join()


@pytest.fixture
def plane(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    server.course, server.asked, server.refusal, server.interrupts_at = [rollout()], [], None, 0
    monkeypatch.setenv("ROOST_SERVER", server.url)
    monkeypatch.setenv("ROOST_TOKEN", TOKEN)
    monkeypatch.setattr(rollout_watch, "POLL_S", 0.01)
    return server


Roost = Callable[..., int]


@pytest.fixture
def roost(monkeypatch: pytest.MonkeyPatch) -> Roost:
    """Run the command line in this process; returns its exit status."""

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["roost", *words])
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def test_lists_are_lines_between_tabs_where_nobody_looks(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roost("rollout", "list") == 0
    (line,) = capsys.readouterr().out.splitlines()
    cells = line.split("\t")
    assert cells[:2] == ["tags-2-abcdef", "tags@1 → tags@2"]
    assert cells[4] == LONG_SENTENCE.strip(), "nothing is cut"


def test_on_a_terminal_one_column_alone_is_cut() -> None:
    row = ["tags-final-edition-13-abcdef", LONG_SENTENCE, "2h"]
    lines = lay_out(("ROLLOUT", "VERDICT", "AGE"), [row], shrinks="VERDICT", width=70)
    assert all(len(line) <= 70 for line in lines)
    assert row[0] in lines[1]
    assert lines[1].endswith("2h")
    narrow = lay_out(("ROLLOUT", "VERDICT", "AGE"), [row], shrinks="VERDICT", width=20)
    assert row[0] in narrow[1], "an id is never cut, whatever the width"


def test_json_is_the_document(plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str]) -> None:
    assert roost("rollout", "get", "tags-2-abcdef", "--json") == 0
    assert json.loads(capsys.readouterr().out) == rollout()


def test_a_rollout_tells_its_checks_and_why_an_action_is_refused(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roost("rollout", "get", "tags-2-abcdef") == 0
    out = capsys.readouterr().out
    assert "0.31 of 100" in out
    assert "availability is not proven safe" in out
    assert roost("rollout", "explain", "tags-2-abcdef") == 0
    assert str(VERDICT["sentence"]) in capsys.readouterr().out


ENDINGS = [
    (rollout("promoted", weight=1.0), [], 0),
    (rollout("rolled-back", code="gate.harm-proven"), [], 10),
    (rollout("aborted"), [], 11),
    (rollout("paused"), [], 12),
    (rollout("paused"), ["--until", "paused"], 0),
    (rollout("failed"), [], 12),
    (rollout(), ["--timeout", "30ms"], 13),
    (rollout(code="alarm.no-data"), ["--timeout", "30ms"], 14),
    (rollout("baking"), ["--until", "baking"], 0),
    (rollout("rolled-back"), ["--until", "ended"], 0),
]


@pytest.mark.parametrize(("last", "options", "status"), ENDINGS)
def test_waiting_ends_with_the_status_of_the_ending(
    plane: Scripted,
    roost: Roost,
    capsys: pytest.CaptureFixture[str],
    last: dict[str, Any],
    options: list[str],
    status: int,
) -> None:
    plane.course = [last]
    assert roost("rollout", "wait", "tags-2-abcdef", *options) == status
    capsys.readouterr()
    assert roost("rollout", "wait", "tags-2-abcdef", "--json", *options) == status
    told = json.loads(capsys.readouterr().out)
    assert (told["phase"], told["exit_status"]) == (last["phase"], status), "the same object on every status"


def test_waiting_writes_a_line_for_each_change(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str]
) -> None:
    plane.course = [rollout(weight=0.05), rollout(weight=0.05), rollout(weight=0.1), rollout("promoted")]
    assert roost("rollout", "wait", "tags-2-abcdef") == 0
    assert [re.findall("weight (\\S+ %)", x)[0] for x in capsys.readouterr().out.splitlines()] == [
        "5 %",
        "10 %",
        "25 %",
    ]


def test_watching_ends_with_the_rollout(plane: Scripted, roost: Roost) -> None:
    plane.course = [rollout(), rollout("rolling-back", weight=0.0), rollout("rolled-back", weight=0.0)]
    assert roost("rollout", "get", "-w", "tags-2-abcdef") == 10


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let an interrupt interrupt, also where a shell started the tests in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_has_its_status(plane: Scripted, roost: Roost) -> None:
    plane.interrupts_at = 3
    assert roost("rollout", "wait", "tags-2-abcdef") == 130


def test_a_short_outage_of_the_control_plane_is_waited_for(plane: Scripted, roost: Roost) -> None:
    plane.course = [rollout(), rollout("promoted")]
    plane.away = 3
    assert roost("rollout", "wait", "tags-2-abcdef") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rollout", "start", "tags@2", "--reason", "smaller"), ("POST", "rollouts", "tags@2")),
        (
            ("rollout", "pause", "tags-2-abcdef", "--reason", "look"),
            ("POST", "rollouts/tags-2-abcdef/actions", "pause"),
        ),
        (
            ("rollout", "abort", "tags-2-abcdef", "--reason", "wrong", "--yes"),
            ("POST", "rollouts/tags-2-abcdef/actions", "abort"),
        ),
        (("token", "revoke", "0a1b", "--reason", "left"), ("DELETE", "tokens/0a1b", "left")),
    ],
)
def test_changes_carry_reason_and_key(
    plane: Scripted, roost: Roost, words: tuple[str, ...], told: tuple[str, str, str]
) -> None:
    assert roost(*words) == 0
    (change,) = [one for one in plane.asked if one[0] != "GET"]
    assert change[:2] == told[:2]
    assert told[2] in change[2].values()
    assert change[2]["reason"]
    assert re.fullmatch("[0-9a-f]{32}", change[3]["idempotency-key"])


@pytest.mark.parametrize(
    "words", [("rollout", "abort", "tags-2-abcdef", "--reason", "wrong"), ("rollout", "pause", "tags-2-abcdef")]
)
def test_what_a_person_has_to_say_is_not_guessed(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert roost(*words) == 2
    assert "--yes" in (err := capsys.readouterr().err) or "--reason" in err
    assert plane.changes() == []


def test_a_dry_run_tells_the_effect_and_changes_nothing(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roost("rollout", "abort", "tags-2-abcdef", "--dry-run") == 0
    assert capsys.readouterr().out == "25 % of traffic returns to tags@1\n"
    assert roost("rollout", "promote", "--all", "tags-2-abcdef", "--dry-run") == 4
    assert "not proven safe" in capsys.readouterr().err
    assert plane.changes() == []


REFUSALS = [
    (403, "not-permitted", 4),
    (409, "conflict", 1),
    (400, "spec.invalid", 6),
    (404, "not-found", 3),
    (503, "unavailable", 5),
    (500, "some.later-code", 1),
]


@pytest.mark.parametrize(("http", "code", "status"), REFUSALS)
def test_refusals_keep_their_words_and_have_their_status(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str], http: int, code: str, status: int
) -> None:
    plane.refusal = http, {"code": code, "detail": "it can't be", "hint": "do it otherwise"}
    assert roost("rollout", "pause", "tags-2-abcdef", "--reason", "x") == status
    err = capsys.readouterr().err
    assert "it can't be" in err
    assert "do it otherwise" in err


def test_a_wrong_token_an_unknown_rollout_and_nobody_there(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert roost("rollout", "list", "--token", "rst_other") == 4
    assert roost("rollout", "get", "nothing") == 3
    assert roost("rollout", "list", "--server", "http://127.0.0.1:1") == 5
    assert roost("rollout", "list", "--server", "127.0.0.1:8600") == 2
    monkeypatch.delenv("ROOST_SERVER")
    capsys.readouterr()
    assert roost("rollout", "list", "--home", str(tmp_path)) == 5
    assert f"roost up --home {tmp_path}" in capsys.readouterr().err


def test_a_home_s_token_goes_to_its_own_control_plane_alone(plane: Scripted, roost: Roost, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "cli-token").write_text(TOKEN)
    assert roost("rollout", "list", "--home", str(tmp_path), "--token", "") == 4, "another address was named"
    assert "authorization" not in plane.asked[-1][3]


def test_a_spec_with_mistakes_is_told_before_anybody_is_asked(
    plane: Scripted, roost: Roost, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("{service: tags, model: tags, slos: {a: {objectiv: 99%}}}")
    assert roost("service", "apply", str(file), "--reason", "x") == 6
    assert f"{file} has" in capsys.readouterr().err
    assert plane.asked == []


def test_a_spec_is_sent_as_it_was_written(plane: Scripted, roost: Roost, tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("{service: tags, model: tags, slos: {availability: {objective: 99%}}}")
    assert roost("service", "apply", str(file), "--champion", "tags@1", "--reason", "first") == 0
    ((method, path, body),) = plane.changes()
    assert (method, path) == ("PUT", "services/tags")
    assert body == {"spec": file.read_text(), "champion": "tags@1", "expected": None, "reason": "first"}


def test_every_exit_status_is_listed(roost: Roost, capsys: pytest.CaptureFixture[str]) -> None:
    assert roost("help", "exit-codes") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(maxsplit=1) for line in lines] == [[str(int(s)), text] for s, text in MEANINGS.items()]


def test_codes_are_explained(roost: Roost, capsys: pytest.CaptureFixture[str]) -> None:
    assert roost("explain", "gate.harm-proven") == 0
    assert "goes back" in capsys.readouterr().out
    assert roost("explain", "gate.harm-provn") == 3

"""Freezes with an end, silences, undoing a champion and jobs on versions, as people ask for them on the pages."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from contracts.specs.loading import load_service_spec
from controlplane.store.tokens import Role
from tests.api.ground import SPEC, Ground
from tests.web.conftest import XSS
from tests.web.test_actions import OWN, key_in, log_in, open_pages, started

LATER_S = 4_000_000_000
LATER = datetime.fromtimestamp(LATER_S, UTC).strftime("%Y-%m-%dT%H:%M")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[tuple[Ground, str, TestClient]]:
    """A control plane, its rollout, and its pages for an operator."""
    ground, rollout_id = started(tmp_path)
    with open_pages(ground) as pages:
        log_in(pages, ground, Role.OPERATOR)
        yield ground, rollout_id, pages
    ground.close()


def send(pages: TestClient, path: str, **form: str) -> int:
    key = key_in(pages.get(path).text)
    return pages.post(path, data={"key": key, **form}, headers=OWN).status_code


def test_a_freeze_ends_by_itself_when_somebody_says_when(plane: tuple[Ground, str, TestClient]) -> None:
    ground, _, pages = plane
    path = "/services/tags/freeze"
    refused = pages.post(path, data={"key": "k", "reason": "x", "until": "tomorrow"}, headers=OWN)
    assert refused.status_code == 400
    assert 'role="alert"' in refused.text
    assert 'value="tomorrow"' in refused.text, "what somebody has written is not lost"
    assert send(pages, path, reason="holidays", until=LATER) == 303
    (freeze,) = ground.stores.freezes.of_service("tags")
    assert freeze.until_s == pytest.approx(LATER_S, abs=60)
    assert "until <time" in pages.get("/").text
    assert "roost service freeze tags --for 2d" in pages.get(path).text


def test_rules_of_a_spec_are_told_on_the_fleet(plane: tuple[Ground, str, TestClient]) -> None:
    ground, _, pages = plane
    spec = load_service_spec(SPEC + "freeze: {weekly: ['mon 00:00 - sun 23:59'], budget_below: 10%}\n")
    ground.stores.services.apply(spec, actor="eva", reason="calendar", expected=None)
    text = pages.get("/").text
    assert "frozen each week, mon 00:00 - sun 23:59 UTC" in text
    assert "frozen while less than 10 % of an error budget is left" in text


def test_an_objective_is_silenced_until_a_time_and_that_is_lifted(plane: tuple[Ground, str, TestClient]) -> None:
    ground, _, pages = plane
    path = "/services/tags/slos/availability/silence"
    text = pages.get(path).text
    assert "measured, shown and decided on as before" in text
    assert "roost slo silence tags availability" in text
    assert send(pages, path, reason=XSS, until="2020-01-01T00:00") == 400
    assert send(pages, "/services/tags/slos/nobody/silence", reason="x", until=LATER) == 404
    assert send(pages, path, reason=XSS, until=LATER) == 303
    (silence,) = ground.stores.silences.of_service("tags")
    assert (silence.actor, silence.reason, silence.objective) == ("operator", XSS, "availability")
    assert send(pages, f"/silences/{silence.id}/lift", reason="over") == 303
    assert ground.stores.silences.active() == {}


def test_a_champion_is_undone_unless_that_can_not_be(plane: tuple[Ground, str, TestClient]) -> None:
    ground, rollout_id, pages = plane
    assert "had no champion before" in pages.get("/services/tags/undo").text
    with ground.stores.database.write() as connection:
        ground.stores.services.crown(connection, "tags", "m@2")
    assert f"{rollout_id} is in progress" in pages.get("/services/tags/undo").text
    ground.end()
    text = html.unescape(pages.get("/services/tags/undo").text)
    assert "traffic of tags goes from m@2 back to m@1" in text
    assert "roost service undo tags --reason '…' --yes" in text
    assert send(pages, "/services/tags/undo", reason=XSS) == 303
    undo = ground.stores.undos.open()["tags"]
    assert (undo.version, undo.actor, undo.reason) == ("m@2", "operator", XSS)
    assert "asked for it already" in pages.get("/services/tags/undo").text
    assert pages.post("/services/tags/undo", data={"key": "n", "reason": "more"}, headers=OWN).status_code == 409


def test_a_version_is_optimised_and_profiled_as_jobs(plane: tuple[Ground, str, TestClient]) -> None:
    ground, _, pages = plane
    path = "/models/m/versions/2/optimise"
    assert "a new version is made from m@2" in pages.get(path).text.replace("A new", "a new")
    assert send(pages, path, reason="smaller", recipe="", device="gpu") in {400, 422}
    assert send(pages, path, reason="smaller", recipe="onnx-int8-dynamic", device="cpu") == 303
    assert send(pages, "/models/m/versions/3/profile", reason=XSS, batches="1, 4", device="cpu", budget_s="60") == 303
    profile, optimise = ground.stores.jobs.list()
    assert optimise.arguments == {**optimise.arguments, "version": "m@2", "recipe": "onnx-int8-dynamic"}
    assert (profile.kind, profile.arguments["batches"], profile.reason) == ("profile", [1, 4], XSS)
    assert (profile.actor, optimise.actor) == ("operator", "operator")
    text = pages.get(path).text
    assert f"{optimise.id} does that: it is waiting, asked for by operator" in text
    assert re.search(r"1 job comes first|2 jobs come first", pages.get("/models/m/versions/1/profile").text)
    assert send(pages, "/models/m/versions/1/profile", reason="x", batches="many", device="cpu", budget_s="1") in {
        400,
        422,
    }
    for wrong in ("/models/m/versions/9/profile", "/models/m/versions/1/explode", "/models/nobody/versions/1/profile"):
        assert pages.get(wrong).status_code == 404


def test_a_stranger_sees_why_nothing_can_be_asked(plane: tuple[Ground, str, TestClient]) -> None:
    pages = plane[2]
    pages.post("/logout", headers=OWN)
    for path in ("/services/tags/undo", "/services/tags/slos/availability/silence", "/models/m/versions/1/profile"):
        assert "log in first" in pages.get(path).text
        assert pages.post(path, data={"key": "k", "reason": "x"}, headers=OWN).status_code in {400, 401, 403}


def test_mine_is_an_address_that_others_see_alike(plane: tuple[Ground, str, TestClient]) -> None:
    _, rollout_id, pages = plane
    assert 'href="/rollouts?by=operator"' in pages.get("/rollouts").text
    assert f'data-open="/rollouts/{rollout_id}"' not in pages.get("/rollouts?by=operator").text
    pages.post("/logout", headers=OWN)
    text = pages.get("/rollouts?by=admin").text
    assert f'data-open="/rollouts/{rollout_id}"' in text
    assert 'href="/rollouts?by=admin"' in text
    assert f'data-open="/rollouts/{rollout_id}"' in pages.get("/?by=admin").text
    assert "started no rollout" in pages.get("/?by=nobody").text

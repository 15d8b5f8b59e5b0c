"""Asking for something on the pages: who may, what is refused, what the API is told; without a browser but once."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from fastapi.testclient import TestClient

from controlplane.api.access import AccessSpec, Anonymous
from controlplane.api.sessions import COOKIE
from controlplane.store.tokens import Role
from controlplane.web.app import make_app
from rollout.phases import ManualKind
from tests.api.ground import Ground
from tests.web.conftest import XSS, violations

if TYPE_CHECKING:
    from playwright.sync_api import Page

OWN = {"sec-fetch-site": "same-origin"}


def started(folder: Path, **access: object) -> tuple[Ground, str]:
    """Return a control plane with one rollout that has traffic, and the rollout's id."""
    ground = Ground(folder, access=AccessSpec(**access))
    with ground.client() as admin:
        assert ground.apply(admin).status_code == 200
        rollout_id = str(ground.start(admin).json()["id"])
    ground.progress()
    return ground, rollout_id


def open_pages(ground: Ground, *, tells_errors: bool = True) -> TestClient:
    return TestClient(
        make_app(ground.home, api=ground.api),
        base_url="http://127.0.0.1",
        client=("127.0.0.1", 50_000),
        follow_redirects=False,
        raise_server_exceptions=tells_errors,
    )


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[tuple[Ground, str, TestClient]]:
    """A control plane, its rollout, and its pages for somebody who has not logged in."""
    ground, rollout_id = started(tmp_path)
    with open_pages(ground) as pages:
        yield ground, rollout_id, pages
    ground.close()


def log_in(pages: TestClient, ground: Ground, role: Role) -> None:
    answer = pages.post("/login", data={"token": ground.token(role), "next": "/slos"}, headers=OWN)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/slos"


def key_in(text: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', text)
    assert found
    return found[1]


def test_a_session_is_a_cookie_that_scripts_and_other_sites_never_see(
    plane: tuple[Ground, str, TestClient],
) -> None:
    ground, _, pages = plane
    answer = pages.post("/login", data={"token": ground.token(Role.OPERATOR), "next": ""}, headers=OWN)
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in (f"{COOKIE}=", "HttpOnly", "SameSite=strict", "Path=/"))
    assert "rst_" not in cookie
    text = pages.get("/").text
    assert "Log out" in text
    assert "operator" in text
    assert pages.post("/logout", headers=OWN).status_code == 303
    assert "Log out" not in pages.get("/").text


@pytest.mark.parametrize(
    "onward", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_nowhere_else(plane: tuple[Ground, str, TestClient], onward: str) -> None:
    ground, _, pages = plane
    data = {"token": ground.token(Role.VIEWER), "next": onward}
    assert pages.post("/login", data=data, headers=OWN).headers["location"] == "/"


def test_a_wrong_token_is_told_with_its_remedy_and_never_shown(plane: tuple[Ground, str, TestClient]) -> None:
    answer = plane[2].post("/login", data={"token": "rst_wrong"}, headers=OWN)
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "rst_wrong" not in answer.text


def test_each_action_is_offered_with_its_effect_or_why_not(plane: tuple[Ground, str, TestClient]) -> None:
    ground, rollout_id, pages = plane
    stranger = pages.get(f"/rollouts/{rollout_id}").text
    assert stranger.count("log in first") == len(ManualKind)
    log_in(pages, ground, Role.VIEWER)
    assert "this needs an operator" in pages.get(f"/rollouts/{rollout_id}").text
    log_in(pages, ground, Role.OPERATOR)
    text = pages.get(f"/rollouts/{rollout_id}").text
    assert f'href="/rollouts/{rollout_id}/actions/abort"' in text
    assert "resume is possible while" in text
    assert "Started by admin: faster" in text
    abort = pages.get(f"/rollouts/{rollout_id}/actions/abort").text
    assert "25 % of traffic returns to m@1" in abort
    assert f"roost rollout abort {rollout_id} --reason" in abort
    assert "Not possible now" in pages.get(f"/rollouts/{rollout_id}/actions/resume").text
    assert pages.get(f"/rollouts/{rollout_id}/actions/explode").status_code == 404


def test_what_is_asked_is_asked_once_in_the_persons_name_with_their_reason(
    plane: tuple[Ground, str, TestClient],
) -> None:
    ground, rollout_id, pages = plane
    log_in(pages, ground, Role.OPERATOR)
    path = f"/rollouts/{rollout_id}/actions/abort"
    form = {"key": key_in(pages.get(path).text), "reason": XSS}
    for _ in range(2):
        answer = pages.post(path, data=form, headers=OWN)
        assert answer.status_code == 303
    (wish,) = ground.stores.wishes.of_rollout(rollout_id)
    assert (wish.action.kind, wish.action.actor, wish.action.reason) == ("abort", "operator", XSS)
    shown = pages.get(answer.headers["location"].partition("#")[0]).text
    assert XSS not in shown
    assert "waits for the next decision" in shown
    empty = pages.post(path, data={**form, "reason": " ", "key": "other"}, headers=OWN)
    assert empty.status_code in {400, 422}
    assert 'role="alert"' in empty.text


def test_another_site_can_not_ask(plane: tuple[Ground, str, TestClient]) -> None:
    ground, rollout_id, pages = plane
    # Where a browser tells no site (plain http under a name), it must tell our own pages' origin.
    assert pages.get("/login").headers["referrer-policy"] == "same-origin"
    origin = {"origin": "http://127.0.0.1"}
    assert pages.post("/login", data={"token": ground.token(Role.ADMIN)}, headers=origin).status_code == 303
    form = {"reason": "x", "key": "k"}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {}):
        for path in (f"/rollouts/{rollout_id}/actions/abort", "/start"):
            data = {**form, "service": "tags", "version": "m@3"}
            assert pages.post(path, data=data, headers=headers).status_code == 403
    assert pages.post("/login", data={"token": "rst_"}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert ground.stores.wishes.of_rollout(rollout_id) == []


def test_a_rollout_is_started_after_a_look_at_what_it_would_be(plane: tuple[Ground, str, TestClient]) -> None:
    ground, _, pages = plane
    log_in(pages, ground, Role.OPERATOR)
    assert "has a rollout in progress" in pages.get("/start?version=m@3", headers=OWN).text
    ground.end()
    text = pages.get("/start?version=m@3", headers=OWN).text
    assert "m@3 is tried against m@1" in text
    wanted = {"service": "tags", "version": "m@3", "reason": "sharper", "force": "0", "key": key_in(text)}
    answer = pages.post("/start", data=wanted, headers=OWN)
    assert answer.status_code == 303
    (living,) = ground.stores.rollouts.living()
    assert (living.challenger, living.actor, living.reason) == ("m@3", "operator", "sharper")
    assert answer.headers["location"] == f"/rollouts/{living.id}"
    assert "takes it up at its next step" in pages.get(answer.headers["location"]).text
    assert pages.get("/rollouts/nobody").status_code == 404


def test_a_service_is_frozen_and_a_version_stopped_and_either_lifted(plane: tuple[Ground, str, TestClient]) -> None:
    ground, rollout_id, pages = plane
    assert "log in first" in pages.get("/services/tags/freeze").text
    log_in(pages, ground, Role.OPERATOR)
    assert f"{rollout_id} is paused at 25 % of traffic" in pages.get("/services/tags/freeze").text
    stop = pages.get("/services/tags/kill").text
    assert "25 % of traffic returns to m@1" in stop
    assert "answers 503 until it has another" in stop
    for verb, choice in (("freeze", ""), ("kill", "m@2")):
        form = {"reason": XSS, "choice": choice, "key": verb}
        for _ in range(2):
            assert pages.post(f"/services/tags/{verb}", data=form, headers=OWN).status_code == 303
    fleet = pages.get("/").text
    assert XSS not in fleet
    assert fleet.count("by operator: &lt;img") == 2
    for address in re.findall(r'href="(/(?:freezes|kills)/[0-9a-f]+/lift)"', fleet):
        assert pages.post(address, data={"reason": "  "}, headers=OWN).status_code in {400, 422}
        assert pages.post(address, data={"reason": "over"}, headers={"origin": "null"}).status_code == 403
        assert pages.post(address, data={"reason": "over"}, headers=OWN).status_code == 303
    assert "Lift" not in pages.get("/").text
    for address in ("/services/nobody/freeze", "/services/tags/explode", "/rollouts/x/lift"):
        assert pages.get(address).status_code == 404


def test_where_nobody_may_look_without_a_token_every_page_leads_to_the_login(tmp_path: Path) -> None:
    ground, rollout_id = started(tmp_path, anonymous=Anonymous.NONE)
    with open_pages(ground) as pages:
        for path in ("/", f"/rollouts/{rollout_id}", "/decisions.csv", "/pictures/1", "/review/", "/start"):
            answer = pages.get(path)
            assert answer.status_code == 303, path
            assert answer.headers["location"].startswith("/login?next=/")
        assert pages.get("/live?page=/").status_code == 401
        assert pages.get("/login").status_code == 200
        assert pages.get("/static/roost.css").status_code == 200
        scoped = ground.token(Role.VIEWER, "scoped", scopes=["other"])
        assert pages.post("/login", data={"token": scoped}, headers=OWN).status_code == 303
        assert pages.get("/").status_code == 303
        log_in(pages, ground, Role.VIEWER)
        assert pages.get("/").status_code == 200
    ground.close()


def test_what_goes_wrong_inside_is_a_page_too_and_as_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = Ground(tmp_path)
    monkeypatch.setattr(ground.home, "routing", lambda: 1 / 0)
    with open_pages(ground, tells_errors=False) as pages:
        answer = pages.get("/")
    ground.close()
    assert answer.status_code == 500
    assert "this page can&#39;t be made" in answer.text
    assert "ZeroDivisionError" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_somebody_who_asks_too_much_is_told_and_not_sent_to_log_in(tmp_path: Path) -> None:
    ground, _ = started(tmp_path, requests_per_second=0.001, burst=9)
    with open_pages(ground) as pages:
        statuses = [pages.get("/decisions").status_code for _ in range(12)]
    ground.close()
    assert statuses[0] == 200
    assert statuses[-1] == 503


@contextmanager
def listening(ground: Ground) -> Iterator[str]:
    """Serve the pages of a control plane, and return their address."""
    app = make_app(ground.home, api=ground.api)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        ground.home.feed.close()
        server.should_exit = True
        thread.join()


@pytest.mark.slow
def test_people_act_by_keyboard_in_a_browser(tmp_path: Path, page: "Page") -> None:
    ground, rollout_id = started(tmp_path)
    with listening(ground) as url:
        page.goto(f"{url}/login?next=/rollouts/{rollout_id}")
        assert violations(page, "") == []
        page.keyboard.type(ground.token(Role.OPERATOR))
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Log out")
        assert violations(page, "") == []
        abort_by_keyboard(page)
        freeze(page, url)
    (wish,) = ground.stores.wishes.of_rollout(rollout_id)
    assert (wish.action.kind, wish.action.reason) == ("abort", "wrong tokenizer")
    ground.close()


def abort_by_keyboard(page: "Page") -> None:
    """Look at what an abort would do, leave it, and then ask for it."""
    for is_meant in (False, True):
        page.focus("text=Abort")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog[open] textarea")
        assert "25 % of traffic returns to m@1" in page.inner_text("dialog[open]")
        assert violations(page, "") == []
        if not is_meant:
            page.keyboard.press("Escape")
            page.wait_for_selector("dialog:not(#keys)", state="detached")
    page.keyboard.type("wrong tokenizer")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#asked >> text=wrong tokenizer")


def freeze(page: "Page", url: str) -> None:
    """Freeze a service for a reason that attacks the page."""
    page.goto(f"{url}/")
    page.click("a.button:text-is('Freeze')")
    page.wait_for_selector("dialog[open] textarea")
    page.keyboard.type(XSS)
    page.click("dialog button.main")
    page.wait_for_selector("#holds >> text=Lift")
    assert XSS in page.inner_text("#holds")
    for path in ("/", "/start?version=m@3"):
        page.goto(url + path)
        assert violations(page, "") == [], path

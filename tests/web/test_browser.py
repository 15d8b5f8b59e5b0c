"""The pages in a real Chromium: accessible, live, honest about what is stale, usable by keyboard."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contracts.clock import FakeClock
from contracts.rng import SeededRng
from controlplane.reviewing.desk import Output, ReviewDesk
from controlplane.reviewing.evidence import PreferenceEvidence
from controlplane.settings import Settings
from controlplane.store.reviews import ReviewStore
from rollout.phases import Phase
from tests.web.conftest import XSS, Served, serve, violations
from tests.web.recorder import png, record_rollout, record_spec
from tests.web.writer import Writer, next_rollout

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow
PAGES = (
    "/",
    "/rollouts",
    "/rollouts/tags-2-abc2",
    "/rollouts/tags-4-abc4",
    "/rollouts/tags-3-abc3?at=80",
    "/models",
    "/models/price-tags",
    "/slos",
    "/quality",
    "/reports",
    "/decisions",
    "/decisions/5",
    "/search?q=tags",
    "/compare/rollouts?id=tags-2-abc2&id=tags-3-abc3",
    "/compare/reports?week=2026-W47&with=2026-W46",
    "/reports/2026-W47",
    "/review/",
    "/nothing",
)
EMPTY = ("/review/", "/", "/rollouts", "/models", "/slos", "/quality", "/reports", "/decisions")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = serve(tmp_path_factory.mktemp("empty") / "home")
    yield served
    served.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(
    browser: "Browser", kept: Served, empty: Served, scheme: str
) -> None:
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    addresses = [kept.url + path for path in PAGES] + [empty.url + path for path in EMPTY]
    wrong = {}
    for address in addresses:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector("main")
        if "/rollouts/" in address:
            page.wait_for_selector("figure svg[tabindex]")
        if found := violations(page, "" if scheme == "light" else "{runOnly: ['color-contrast']}"):
            wrong[address] = found
        page.set_viewport_size({"width": 360, "height": 800})
        if scheme == "light" and (wider := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            wrong[f"{address} at 360 px"] = [f"{wider} px wider than the window"]
    page.close()
    assert wrong == {}


def test_a_rollout_is_watched_to_its_end_over_a_restart_without_a_reload(tmp_path: Path, page: "Page") -> None:
    writer = Writer(tmp_path, score=0.5, at_s=time.time() + 60)  # a slow machine makes nothing stale
    for _ in range(3):
        writer.tick()
    served = serve(tmp_path)
    try:
        page.goto(f"{served.url}/rollouts/{writer.rollout_id}")
        page.evaluate("window.untouched = true")
        page.wait_for_selector("#badge[data-state=live]")
        for _ in range(4):
            writer.tick(0.2)
        page.wait_for_selector("figure[data-series='text/evidence'] >> text=1/α")
        served.end()
        page.wait_for_selector("#badge[data-state=lost]")
        assert "values as of" in page.inner_text("#bar")
        while writer.state.phase is not Phase.ROLLED_BACK:
            writer.tick(0.2)
        served = serve(tmp_path, port=int(served.url.rsplit(":", 1)[1]))
        page.wait_for_selector(".sentence[data-outlook=bad] >> text=rolled back", timeout=15_000)
        assert page.is_hidden("#bar")
        assert page.evaluate("window.untouched") is True
        page.focus("figure[data-series=traffic] svg[tabindex]")
        page.keyboard.press("End")
        assert f"decision {writer.ticks - 1}" in page.inner_text("figure[data-series=traffic] output")
        rows = page.evaluate("import('/static/charts.js').then(charts => charts.rowsOf('traffic'))")
        assert rows == list(range(writer.ticks))
    finally:
        served.end()


def test_what_somebody_reads_on_a_chart_and_has_ticked_outlives_what_is_new(tmp_path: Path, page: "Page") -> None:
    now_s = time.time()
    writer = Writer(tmp_path, number=3, score=0.9, at_s=now_s - 30)
    for _ in range(5):
        writer.tick()
    next_rollout(writer, number=2).tick()
    record_spec(tmp_path, writer.at_s - 60)
    record_rollout(tmp_path, 3, now_s - 28, now_s + 2, XSS)  # from the first decisions on, whatever time it is now
    served = serve(tmp_path)
    try:
        page.goto(f"{served.url}/rollouts/{writer.rollout_id}")
        page.focus("#latency svg[tabindex]")
        page.keyboard.press("Home")
        told = page.inner_text("#latency output")
        assert "p95 9" in told.replace("0.9 s", "900 ms")
        page.evaluate("window.before = document.querySelector('#latency')")
        record_rollout(tmp_path, 3, now_s, now_s + 30, XSS, boot="later")
        writer.tick(25.0)
        page.wait_for_function("() => document.querySelector('#latency') !== window.before", timeout=20_000)
        assert page.evaluate("document.activeElement.closest('figure')?.id") == "latency"
        page.wait_for_function("told => document.querySelector('#latency output').textContent === told", arg=told)
        page.keyboard.press("Escape")
        page.evaluate("window.before = document.querySelector('#latency')")
        record_rollout(tmp_path, 3, now_s, now_s + 30, XSS, boot="latest")
        writer.tick(5.0)
        page.wait_for_function("() => document.querySelector('#latency') !== window.before", timeout=20_000)
        assert page.evaluate("document.activeElement.closest('figure')?.id") == "latency", "focused, and not yet read"
        page.goto(f"{served.url}/rollouts")
        page.wait_for_selector("#badge[data-state=live], #badge[data-state=stale]")
        page.check("#c-tags-3-abc3")
        page.evaluate("window.before = document.querySelector('#c-tags-3-abc3')")
        writer.tick()
        page.wait_for_function("() => document.querySelector('#c-tags-3-abc3') !== window.before")
        assert page.is_checked("#c-tags-3-abc3")
        page.check("#c-tags-2-abc2")
        page.click("text=Compare two")
        page.wait_for_selector("figure[data-series=weights] svg[tabindex]")
        assert "tags-3-abc3" in page.inner_text("h1")
    finally:
        served.end()


def test_pairs_are_judged_by_keyboard_alone(tmp_path: Path, page: "Page") -> None:
    store = ReviewStore(Settings(tmp_path).reviews_uri)
    desk = ReviewDesk(store, PreferenceEvidence(), FakeClock(), SeededRng(4))
    for number in range(3):
        desk.add_pair(f"{XSS} {number}", Output("a@1", png((9, 9, 9))), Output("a@2", png((99, 9, 9))))
    served = serve(tmp_path)
    try:
        page.goto(f"{served.url}/review/")
        page.keyboard.type("Ann")
        page.keyboard.press("Enter")
        for judged, key in enumerate("12x0"):
            page.wait_for_selector(f"text=You have judged {judged}.")
            if page.is_visible("text=Nothing is left"):
                break
            assert XSS in page.inner_text("blockquote")
            assert "a@1" not in page.content()
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            assert violations(page, "") == []
            page.keyboard.press(key)
        page.wait_for_selector("text=Nothing is left")
        assert {judgement.rater for judgement in store.judgements()} == {"Ann"}
        assert len(store.judgements()) >= 3
    finally:
        served.end()
        store.close()


def test_silence_of_the_control_plane_is_told(kept: Served, page: "Page") -> None:
    page.goto(kept.url + "/rollouts/tags-4-abc4")
    page.wait_for_selector("#badge[data-state=stale]")
    assert "no decision since" in page.inner_text("#bar")
    page.goto(kept.url + "/rollouts/tags-3-abc3")
    page.wait_for_selector("#badge[data-state=live]")
    assert page.is_hidden("#bar")


def test_texts_are_shown_as_they_were_written(kept: Served, page: "Page") -> None:
    paths = ("/", "/rollouts/tags-4-abc4", "/rollouts/tags-3-abc3", "/decisions?rollout=tags-4-abc4", "/quality")
    for path in (*paths, "/models/price-tags", f"/search?q={XSS}"):
        page.goto(kept.url + path)
        page.wait_for_selector("main")
        assert XSS in page.inner_text("main"), path
        assert page.query_selector("img[src=x]") is None


def test_the_keyboard_reaches_every_page_and_row(kept: Served, page: "Page") -> None:
    page.goto(kept.url + "/")
    for key, path in (("r", "/rollouts"), ("m", "/models"), ("s", "/slos"), ("q", "/quality"), ("d", "/decisions")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(kept.url + path)
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/rollouts")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url("**/rollouts/tags-4-abc4")
    page.keyboard.press("[")
    page.wait_for_url("**/rollouts/tags-3-abc3")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("tags-2")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=tags-2")
    assert "tags-2-abc2" in page.inner_text("main")


def test_without_scripts_the_page_still_reads(browser: "Browser", kept: Served) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(kept.url + "/rollouts/tags-3-abc3")
    words = page.inner_text("main")
    assert "rolled back" in words
    assert "needed 200" in words
    assert "price-tags@1" in words
    assert re.search(r"price-tags@3 challenger\s+(8[89]|9[01])\d ms", words)
    assert "1h / 5m" in words
    assert "drawn by both versions with the same seed" in words
    drawn = page.locator("figure.chart svg.first")
    assert drawn.count() == page.locator("figure.chart").count() > 6
    assert "newest: asked 0 %" in page.inner_text("figure[data-series=traffic] output")
    assert page.locator("figure[data-series=traffic] path.line").first.bounding_box()["width"] > 500  # type: ignore[index]
    page.goto(kept.url + "/")
    assert "v1-0" in page.inner_text("main")
    assert "waits for a person" in page.inner_text("main")
    page.close()


def test_a_time_is_chosen_by_key_and_by_dragging_and_can_be_passed_on(kept: Served, page: "Page") -> None:
    address = f"{kept.url}/rollouts/tags-2-abc2"
    page.goto(address)
    page.wait_for_selector("figure[data-series=traffic] svg[tabindex]")
    every = page.evaluate("import('/static/charts.js').then(charts => charts.rowsOf('traffic'))")
    page.keyboard.press("t")
    page.keyboard.type("10s")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}?t=10s")
    page.wait_for_selector("figure[data-series=traffic] svg[tabindex]")
    last = page.evaluate("import('/static/charts.js').then(charts => charts.rowsOf('traffic'))")
    assert every[-len(last) :] == last
    assert 8 <= len(last) <= 11
    assert violations(page, "") == []
    page.goto(address)
    box = page.locator("figure[data-series=traffic] svg[tabindex]").bounding_box()
    assert box is not None
    middle, third = box["y"] + box["height"] / 2, box["width"] / 3
    page.mouse.move(box["x"] + third, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 2 * third, middle, steps=4)
    page.mouse.up()
    page.wait_for_url("**/rollouts/tags-2-abc2?t=*")
    page.wait_for_selector("figure[data-series=traffic] svg[tabindex]")
    part = page.evaluate("import('/static/charts.js').then(charts => charts.rowsOf('traffic'))")
    assert 0 < len(part) < len(every)
    assert every[0] < part[0] < part[-1] < every[-1]
    page.click("text=all time")
    page.wait_for_url(address)


def test_profiled_versions_are_drawn_beside_one_another(kept: Served, page: "Page") -> None:
    page.goto(kept.url + "/models/price-tags")
    page.wait_for_selector("figure[data-scatter] circle")
    assert page.locator("figure[data-scatter] circle").count() == 2
    words = page.get_attribute("figure[data-scatter] svg", "aria-label") or ""
    assert "price-tags@2" in words
    assert "0.900" in words


def test_a_hidden_tab_holds_no_connection(kept: Served, page: "Page") -> None:
    page.goto(kept.url + "/rollouts/tags-3-abc3")
    page.wait_for_selector("#badge[data-state=live]")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/live" in request.url else None)
    hide = "state => { Object.defineProperty(document, 'visibilityState', {value: state, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, "hidden")
    page.wait_for_timeout(2500)
    assert asked == []
    page.evaluate(hide, "visible")
    page.wait_for_timeout(500)
    assert len(asked) == 1

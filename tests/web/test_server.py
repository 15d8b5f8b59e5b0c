"""The server: what it answers, whom it answers, what it lets a browser do, and its stream over a restart."""

import csv
import gzip
import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.web.conftest import XSS, Served, serve
from tests.web.recorder import record_rollout
from tests.web.writer import Writer

PAGES = (
    "/",
    "/rollouts",
    "/rollouts/tags-3-abc3",
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
    "/review/",
)


def events(url: str, **headers: str) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
    """Read a stream's events: kind, id, data."""
    with httpx.stream("GET", url, headers=headers, timeout=60, trust_env=False) as answer:
        kind, number = "", None
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind, number = value, None
            elif name == "id":
                number = int(value)
            elif name == "data":
                yield kind, number, json.loads(value)


def look_of(page: httpx.Response) -> str:
    """Return the name of what a page said when it was loaded."""
    found = re.search(r'data-live="([0-9a-f]+)"', page.text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_may_load_nothing_from_elsewhere_and_run_nothing_inline(kept: Served, path: str) -> None:
    answer = kept.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert " style=" not in answer.text
    assert " onclick" not in answer.text
    assert "http://" not in answer.text.replace(kept.url, "").replace("http://www.w3.org", "")
    assert XSS not in answer.text


def test_only_names_of_this_machine_are_answered(kept: Served) -> None:
    port = kept.url.rsplit(":", 1)[1]
    assert kept.get("/", host="evil.example").status_code == 421
    assert kept.get("/live?page=/", host=f"evil.example:{port}").status_code == 421
    assert kept.get("/", host=f"localhost:{port}").status_code == 200
    assert kept.get("/", host=f"[::1]:{port}").status_code == 200


def test_nothing_can_be_changed(kept: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, kept.url + "/rollouts", trust_env=False).status_code == 405


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/rollouts/nobody", 404, "tags-3-abc3"),
        ("/nothing", 404, "there is no page"),
        ("/models/nobody", 404, "price-tags"),
        ("/decisions/99999", 404, "no decision 99999"),
        ("/decisions/-1", 404, "no decision"),
        ("/rollouts/tags-3-abc3?at=soon", 400, "not the number of a decision"),
        ("/reports/..%2f..%2fetc%2fpasswd", 400, "week"),
        ("/static/../../app.py", 404, ""),
        ("/decisions.xml", 404, "csv and json"),
        ("/pictures/99999999999999999999", 404, "no picture"),
        ("/slos?t=soon", 400, "is not a time"),
        ("/decisions?t=2026-11-21/2026-11-20", 400, "ends before it begins"),
        ("/quality?t=2026-99-99/", 400, "is not a moment"),
        ("/live?page=http://[", 400, "no address of a page"),
    ],
)
def test_a_wrong_address_is_told_with_its_remedy(kept: Served, path: str, status: int, words: str) -> None:
    answer = kept.get(path)
    assert answer.status_code == status
    assert words in answer.text


def test_the_rollout_page_is_small(kept: Served) -> None:
    files = ("/rollouts/tags-3-abc3", "/static/roost.css", "/static/icon.svg")
    scripts = tuple(f"/static/{name}.js" for name in ("main", "live", "charts", "keys", "scatter"))
    size = sum(len(gzip.compress(kept.get(path).content)) for path in (*files, *scripts))
    assert size <= 40_000
    assert kept.get("/rollouts/tags-3-abc3", **{"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"


def test_decisions_are_exported_as_they_are_filtered(kept: Served) -> None:
    rows = list(csv.DictReader(io.StringIO(kept.get("/decisions.csv?rollout=tags-4-abc4&every=1").text)))
    documents = kept.get("/decisions.json?rollout=tags-4-abc4&every=1").json()
    assert len(rows) == len(documents) == 7
    assert documents[-1]["why"] == XSS
    assert rows[-1]["actor"] == "alice"
    assert {row["rollout"] for row in rows} == {"tags-4-abc4"}


def test_tables_keep_to_the_time_that_is_asked_for(kept: Served) -> None:
    rows = kept.get("/decisions.json?every=1").json()
    begin, end = rows[30]["at"], rows[40]["at"]
    some = kept.get(f"/decisions.json?every=1&t={begin[:-6]}/{end[:-6]}").json()
    assert [row["sequence"] for row in some] == list(range(30, 41))
    assert kept.get("/decisions.json?every=1&t=3s").json() == rows[-4:]
    listed = kept.get(f"/rollouts?t={begin[:-6]}/{end[:-6]}").text
    assert rows[30]["rollout"] in listed
    assert 'data-open="/rollouts/tags-4-abc4"' not in listed
    assert "In the time shown" in kept.get("/slos?t=1h").text
    assert "No output was judged" in kept.get("/quality?t=2020-01-01/2020-01-02").text
    assert 'data-open="/rollouts/tags-2-abc2"' not in kept.get("/rollouts?model=other").text


def test_a_moment_of_the_past_shows_what_was_known_then(kept: Served) -> None:
    rows = kept.get("/decisions.json?rollout=tags-3-abc3&every=1").json()
    then = next(row for row in rows if row["phase"] == "progressing")
    text = kept.get(f"/rollouts/tags-3-abc3?at={then['sequence']}").text
    assert then["sentence"] in text
    assert "rolled back" not in text.split("<h2>Traffic")[0]
    assert "data-live" not in text


def test_a_stream_goes_on_after_a_restart_where_it_ended(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(4):
        writer.tick()
    served = serve(tmp_path)
    address = f"{served.url}/live?page=/rollouts/{writer.rollout_id}"
    try:
        kind, number, data = next(events(address + "&after=-1"))
        assert (kind, number) == ("change", 3)
        assert data["series"]["traffic"]["s"] == [0, 1, 2, 3]
        assert "verdict" in data["regions"]
        served.end()
        last = max(writer.tick() for _ in range(3))
        served = serve(tmp_path, port=int(served.url.rsplit(":", 1)[1]))
        kind, number, data = next(events(address, **{"last-event-id": "3"}))
        assert (kind, number) == ("change", last)
        assert data["series"]["traffic"]["s"] == [4, 5, 6]
    finally:
        served.end()


def test_a_new_decision_is_sent_once(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    first = writer.tick()
    served = serve(tmp_path)
    try:
        path = f"/rollouts/{writer.rollout_id}"
        stream = events(f"{served.url}/live?page={path}&after={first}&seen={look_of(served.get(path))}")
        assert next(stream)[0] == "beat"
        second = writer.tick()
        numbers = [number for kind, number, _ in (next(stream) for _ in range(2)) if kind == "change"]
        assert numbers == [second]
    finally:
        served.end()


def test_what_changes_between_a_page_and_its_stream_is_sent(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    last = max(writer.tick() for _ in range(3))
    path = f"/rollouts/{writer.rollout_id}"
    served = serve(tmp_path)
    try:
        before = served.get(path)
        assert "Latency" not in before.text
        record_rollout(tmp_path, 2, writer.at_s - 1, writer.at_s + 9, "words")
        while "Latency" not in served.get(path).text:
            time.sleep(0.1)
        kind, number, data = next(events(f"{served.url}/live?page={path}&after={last}&seen={look_of(before)}"))
        assert (kind, number) == ("change", last)
        assert "Latency" in data["regions"]["serving"]
        assert "verdict" not in data["regions"]
    finally:
        served.end()


def test_a_home_without_a_run_says_what_to_do_and_fills_by_itself(tmp_path: Path) -> None:
    home = tmp_path / "not-yet"
    served = serve(home)
    try:
        for path in ("/", "/rollouts", "/models", "/slos", "/quality", "/reports", "/decisions"):
            answer = served.get(path)
            assert answer.status_code == 200
            assert "roost " in answer.text
        assert not home.exists()
        stream = events(f"{served.url}/live?page=/rollouts&after=-1")
        next(stream)
        Writer(home).tick()
        assert any("tags-2-abc2" in data.get("regions", {}).get("rollouts", "") for _, _, data in stream)
    finally:
        served.end()


def test_a_torn_ledger_is_told_and_what_came_before_is_shown(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for _ in range(3):
        writer.tick()
    served = serve(tmp_path)
    try:
        with (tmp_path / "ledger.jsonl").open("a") as file:
            file.write('{"sequence": 3, "at')
        stream = events(f"{served.url}/live?page=/rollouts&after=-1")
        assert any("torn" in data["problem"] for _, _, data in stream)
        assert writer.rollout_id in served.get("/rollouts").text
    finally:
        served.end()

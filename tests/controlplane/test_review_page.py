"""Review as raters and operators meet it: blind, once, by key or form, and never from another site."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.applications import Starlette
from typer.testing import CliRunner

from contracts.clock import FakeClock
from contracts.errors import Conflict, InvalidInput, NotFound
from contracts.rng import SeededRng
from controlplane.cli.main import app
from controlplane.reviewing.app import HEADERS, review_app, review_routes
from controlplane.reviewing.desk import Output, ReviewDesk, add_file, export_lines
from controlplane.reviewing.evidence import PreferenceEvidence
from controlplane.store.reviews import ReviewStore
from evaluation.review.items import Choice, Origin
from evaluation.review.summary import summarise

GOOD, BAD = (10, 200, 10), (200, 10, 10)


def png(colour: tuple[int, int, int]) -> bytes:
    out, notes = io.BytesIO(), PngInfo()
    notes.add_text("version", "tags@13")
    Image.new("RGB", (16, 16), colour).save(out, "PNG", pnginfo=notes)
    return out.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReviewStore]:
    found = ReviewStore(f"sqlite:///{tmp_path / 'review.db'}")
    yield found
    found.close()


@pytest.fixture
def desk(store: ReviewStore) -> ReviewDesk:
    return ReviewDesk(store, PreferenceEvidence(), FakeClock(), SeededRng(4))


def fill(desk: ReviewDesk, pairs: int, needed: int = 1) -> None:
    for number in range(pairs):
        desk.add_pair(f"price tag {number}", Output("tags@12", png(BAD)), Output("tags@13", png(GOOD)), needed=needed)


def judge_by_colour(desk: ReviewDesk, rater: str, most: int = 10_000) -> int:
    """Judge like one who likes green; return how many judgements were asked for."""
    for count in range(most):
        shown = desk.next(rater)
        if shown is None:
            return count
        sides = []
        for left in (True, False):
            with Image.open(io.BytesIO(desk.picture(rater, shown.item.item_id, left=left))) as picture:
                red, green, _ = picture.convert("RGB").getpixel((8, 8))  # type: ignore[misc]
                sides.append(green - red)
        side = "tie" if sides[0] == sides[1] else "left" if sides[0] > sides[1] else "right"
        desk.answer(rater, shown.item.item_id, side)
    return most


def test_sides_change_at_random_and_are_stored_and_the_better_version_is_found(
    desk: ReviewDesk, store: ReviewStore
) -> None:
    fill(desk, 60)
    asked = judge_by_colour(desk, "ann")
    judgements = store.judgements()
    wanted = [j for j in judgements if j.item.origin is Origin.WANTED and j.round == 1]
    assert {j.choice for j in wanted} == {Choice.SECOND}
    assert 0.2 < sum(j.first_is_left for j in wanted) / len(wanted) < 0.8
    assert asked < 60, "the evidence crosses before all pairs are judged"
    summary = summarise(judgements, PreferenceEvidence())
    (preference,) = summary.preferences
    assert (preference.share, preference.wins_second) == (0.0, len(wanted))
    assert (preference.evidence or 0) >= 20
    assert [s.version for s in summary.strengths] == ["tags@13", "tags@12"]


def test_checks_and_repeats_are_mixed_in(desk: ReviewDesk, store: ReviewStore) -> None:
    for number in range(150):
        desk.add_pair(f"p{number}", Output("a@1", png(GOOD)), Output("a@2", png(GOOD)))
    origins = [item.origin for item in store.items()]
    assert 2 <= origins.count(Origin.GOLD) <= 16
    assert 2 <= origins.count(Origin.PLANTED) <= 16
    judge_by_colour(desk, "ann", most=120)
    repeated = [j for j in store.judgements() if j.round == 2]
    assert repeated
    first = {j.item.item_id: j.first_is_left for j in store.judgements() if j.round == 1}
    assert all(j.first_is_left is not first[j.item.item_id] for j in repeated)


def test_an_item_stays_before_a_rater_until_it_is_judged_and_only_once(desk: ReviewDesk) -> None:
    fill(desk, 3)
    shown = desk.next("ann")
    assert shown is not None
    assert desk.next("ann") == shown
    desk.answer("ann", shown.item.item_id, "tie", reasons=["artefact"])
    with pytest.raises(NotFound):
        desk.answer("ann", shown.item.item_id, "left")
    with pytest.raises(InvalidInput, match="no answer"):
        desk.answer("ann", (desk.next("ann") or shown).item.item_id, "better")


def test_a_judgement_is_given_once_even_when_sent_twice_at_once(desk: ReviewDesk, store: ReviewStore) -> None:
    fill(desk, 1)
    shown = desk.next("ann")
    assert shown is not None
    store.submit(shown, Choice.TIE, at_s=1.0)
    with pytest.raises(Conflict):
        store.submit(shown, Choice.FIRST, at_s=1.0)


def test_pictures_carry_no_notes_and_torn_ones_are_refused(desk: ReviewDesk, store: ReviewStore) -> None:
    fill(desk, 1)
    for first in (True, False):
        assert b"tags@13" not in store.image(store.items()[0].item_id, first=first)
    with pytest.raises(InvalidInput, match="decoded"):
        desk.add_flagged("p", Output("a@1", b"torn"), "unsafe")
    with pytest.raises(InvalidInput, match="both outputs are of"):
        desk.add_pair("p", Output("a@1", png(GOOD)), Output("a@1", png(GOOD)))


def client_of(desk: ReviewDesk) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=review_app(desk)), base_url="http://127.0.0.1:8610")


def run(coroutine: object) -> None:
    import asyncio

    asyncio.run(coroutine)  # type: ignore[arg-type]


def test_a_rater_judges_with_plain_forms_and_learns_nothing(desk: ReviewDesk, store: ReviewStore) -> None:
    fill(desk, 2)

    async def judge() -> None:
        async with client_of(desk) as client:
            assert "Your name" in (await client.get("/")).text
            entered = await client.post("/enter", data={"rater": "Ann <b>"})
            assert entered.status_code == 303
            cookie = entered.headers["set-cookie"]
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            task = await client.get("/")
            assert not re.search(r"tags@1[23]|first|second|gold|planted", task.text)
            for key in ("1", "2", "0", "x"):
                assert f"data-key='{key}'" in task.text
            item = re.search(r"name='item' value='([0-9a-f]+)'", task.text)
            assert item
            picture = await client.get(f"/picture/{item[1]}/left")
            assert picture.headers["content-type"] == "image/png"
            answered = await client.post(
                "/judge", data={"item": item[1], "choice": "left", "reason": ["text wrong", "artefact"], "note": "<i>"}
            )
            assert answered.status_code == 303
            again = await client.post("/judge", data={"item": item[1], "choice": "right"})
            assert again.status_code == 404
            assert (await client.get(f"/picture/{item[1]}/left")).status_code == 404

    run(judge())
    (judgement,) = store.judgements()
    assert judgement.rater == "Ann <b>"
    assert judgement.reasons == ("artefact", "text wrong")
    assert json.loads(export_lines([judgement])[0])["note"] == "<i>"


def test_who_is_logged_in_judges_under_their_own_name(desk: ReviewDesk, store: ReviewStore) -> None:
    fill(desk, 1)
    routes = review_routes(lambda: desk, lambda body, base, _: body, lambda request: "eva")

    async def judge() -> None:
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            await client.post("/enter", data={"rater": "somebody else"})
            item = re.search(r"name='item' value='([0-9a-f]+)'", (await client.get("/")).text)
            assert item
            await client.post("/judge", data={"item": item[1], "choice": "left"})

    run(judge())
    assert [judgement.rater for judgement in store.judgements()] == ["eva"]


def test_every_answer_has_strict_headers_and_prompts_are_escaped(desk: ReviewDesk) -> None:
    desk.add_pair("<script>alert(1)</script>", Output("a@1", png(GOOD)), Output("a@2", png(BAD)))

    async def look() -> None:
        async with client_of(desk) as client:
            await client.post("/enter", data={"rater": "ann"})
            for path in ("/", "/style.css", "/keys.js", "/picture/none/left"):
                answer = await client.get(path)
                for name, value in HEADERS.items():
                    assert answer.headers[name] == value
            text = (await client.get("/")).text
            assert "<script>alert" not in text
            assert "&lt;script&gt;" in text
            assert "unsafe-inline" not in HEADERS["content-security-policy"]
            assert "style=" not in text

    run(look())


def test_other_sites_and_other_names_for_this_machine_are_refused(desk: ReviewDesk, store: ReviewStore) -> None:
    fill(desk, 1)

    async def attack() -> None:
        async with client_of(desk) as client:
            await client.post("/enter", data={"rater": "ann"})
            shown = desk.next("ann")
            assert shown is not None
            form = {"item": shown.item.item_id, "choice": "left"}
            for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
                assert (await client.post("/judge", data=form, headers=headers)).status_code == 400
            assert (await client.get("/", headers={"host": "evil.example"})).status_code == 400
            assert (await client.post("/judge", content=b"x" * 50_000)).status_code == 400
            assert (await client.post("/enter", data={"rater": " "})).status_code == 400

    run(attack())
    assert store.judgements() == []


def test_a_file_of_pairs_is_read_and_what_is_wrong_is_told(
    desk: ReviewDesk, store: ReviewStore, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png(GOOD))
    (tmp_path / "b.png").write_bytes(png(BAD))
    (tmp_path / "torn.png").write_bytes(b"torn")
    pair = {"prompt": "p", "seed": 7, "first": {"version": "a@1", "image": "a.png"}}
    rows = [
        {**pair, "second": {"version": "a@2", "image": "b.png"}},
        {**pair, "second": {"version": "a@2", "image": "torn.png"}},
        {**pair, "second": {"version": "a@2", "image": "../../../../etc/hostname"}},
        {"prompt": "p", "version": "a@1", "image": "a.png", "reason": "unsafe"},
        {"prompt": "p"},
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join([*(json.dumps(row) for row in rows), "not json"]))
    loading = add_file(desk, file, needed=2)
    assert [problem.split(":")[0] for problem in loading.problems] == [f"pairs.jsonl, line {n}" for n in (2, 3, 5, 6)]
    assert "outside of the file's folder" in loading.problems[1]
    assert {item.needed for item in store.items() if item.origin is Origin.WANTED} == {2}


@pytest.mark.parametrize("row", ["not json", '{"prompt": "p", "version": "a@1", "image": "torn.png"}'])
def test_a_file_without_anything_usable_leaves_nothing(tmp_path: Path, row: str) -> None:
    (tmp_path / "torn.png").write_bytes(b"torn")
    (tmp_path / "pairs.jsonl").write_text(row)
    home = tmp_path / "home"
    answer = CliRunner().invoke(app, ["review", "add", str(tmp_path / "pairs.jsonl"), "--home", str(home)])
    assert isinstance(answer.exception, InvalidInput)
    assert "line 1: left out" in answer.stderr
    assert not home.exists()


def test_the_commands_add_tell_and_export(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(GOOD))
    (tmp_path / "b.png").write_bytes(png(BAD))
    file = tmp_path / "pairs.jsonl"
    second = {"version": "a@2", "image": "b.png"}
    file.write_text(json.dumps({"prompt": "p", "first": {"version": "a@1", "image": "a.png"}, "second": second}))
    home = str(tmp_path / "home")
    runner = CliRunner()
    assert isinstance(runner.invoke(app, ["review", "results", "--home", home]).exception, NotFound)
    assert "items added" in runner.invoke(app, ["review", "add", str(file), "--home", home]).stdout
    store = ReviewStore(f"sqlite:///{home}/review.db")
    desk = ReviewDesk(store, PreferenceEvidence(), FakeClock(), SeededRng(1))
    judge_by_colour(desk, "ann")
    store.close()
    told = runner.invoke(app, ["review", "results", "--home", home]).stdout
    assert "a@1 against a@2" in told
    assert json.loads(runner.invoke(app, ["review", "results", "--home", home, "--json"]).stdout)["raters"] == 1
    lines = runner.invoke(app, ["review", "export", "--home", home]).stdout.splitlines()
    assert json.loads(lines[0])["item"]["first_version"] == "a@1"

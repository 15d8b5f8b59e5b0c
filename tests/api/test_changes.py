"""Changes asked for over HTTP: once under a key, on what was seen, by two where the service asks for four eyes."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from contracts.clock import FakeClock
from contracts.errors import Conflict
from controlplane.api.app import assemble
from controlplane.api.documents import VERSION_PATTERN
from controlplane.api.flaws import WORDS
from controlplane.store.migrate import open_store
from controlplane.store.replies import KEPT_S, STUCK_S, Replies, Reply
from controlplane.store.tokens import Role
from tests.api.ground import SPEC, Ground

WHY = {"reason": "because"}
KEY = {"idempotency-key": "a-key"}
FOUR_EYES = SPEC + "approval: {four_eyes: true}\n"


def problem(answer: Any, status: int, code: str) -> str:
    """Return what a problem tells, once it is one of this status and code."""
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), told
    assert (told["status"], told["code"], told["type"]) == (status, code, f"urn:roost:problem:{code}")
    return str(told["detail"])


def test_a_spec_with_mistakes_is_refused_with_all_of_them(ground: Ground) -> None:
    with ground.client() as client:
        answer = ground.apply(client, spec="{service: tags, model: m, slos: {a: {objectiv: 99%}}, x: 1}")
        assert "3 mistakes" in problem(answer, 400, "spec.invalid")
        assert {one["path"] for one in answer.json()["problems"]} == {"slos.a.objectiv", "slos.a.objective", "x"}
        assert client.get("/services").json()["items"] == []


@pytest.mark.parametrize(
    ("changed", "status", "code", "words"),
    [
        ({"spec": SPEC.replace("model: m", "model: nobody")}, 404, "not-found", "nobody"),
        ({"spec": SPEC.replace("service: tags", "service: other")}, 400, "input.invalid", "other"),
        ({"champion": "m@9"}, 404, "not-found", "m@9"),
        ({"champion": "1"}, 422, "input.invalid", "champion: '1' is not a version"),
        ({"reason": " "}, 422, "input.invalid", "reason: ' ' is not a reason"),
        ({"reasn": "x"}, 422, "input.invalid", "reasn"),
        ({"reason": "a\0b"}, 400, "input.invalid", "NUL"),
    ],
)
def test_what_can_not_be_applied_leaves_nothing(
    ground: Ground, changed: dict[str, str], status: int, code: str, words: str
) -> None:
    with ground.client() as client:
        assert words in problem(ground.apply(client, **changed), status, code)
        assert client.get("/services").json()["items"] == []


def test_a_body_that_is_not_json_is_told(ground: Ground) -> None:
    with ground.client() as client:
        for body in (b"{", b"[]", b"", b"\xff\xfe"):
            answer = client.put("/services/tags", content=body, headers={"content-type": "application/json"})
            problem(answer, 422 if body != b"\xff\xfe" else answer.status_code, "input.invalid")
            assert answer.status_code in {400, 422}


def test_a_body_of_another_kind_is_told(ground: Ground) -> None:
    with ground.client() as client:
        answer = client.put("/services/tags", content=b'{"reason": "x"}', headers={"content-type": "text/plain"})
        assert "it came as text/plain, not as JSON" in problem(answer, 422, "input.invalid")
        assert "application/json" in answer.json()["hint"]


def test_every_pattern_of_the_description_has_words() -> None:
    def patterns(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            yield from (part["pattern"],) if isinstance(part.get("pattern"), str) else ()
        for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from patterns(inner)

    assert set(patterns(assemble().openapi())) <= set(WORDS)


def test_a_body_nested_too_deeply_is_told(ground: Ground) -> None:
    with ground.client() as client:
        answer = client.put("/services/tags", content=b"[" * 100_000, headers={"content-type": "application/json"})
        assert "JSON" in problem(answer, answer.status_code, "input.invalid")


def test_a_dry_run_changes_nothing(ground: Ground) -> None:
    with ground.client() as client:
        tried = client.put("/services/tags", params={"dry_run": "true"}, json={"spec": SPEC, **WHY}).json()
        assert (tried["before"], tried["after"], tried["champion"], tried["crowned"]) == (0, 1, "m@1", True)
        assert client.get("/services/tags").status_code == 404
        ground.apply(client)
        started = client.post(
            "/rollouts", params={"dry_run": "true"}, json={"service": "tags", "version": "m@2", **WHY}
        )
        assert (started.status_code, started.json()["challenger"]) == (200, "m@2")
        assert client.get("/rollouts").json()["items"] == []


def test_the_same_key_gives_the_same_answer_and_one_change(ground: Ground) -> None:
    with ground.client() as client:
        ground.apply(client)
        body = {"service": "tags", "version": "m@2", **WHY}
        first, second = (client.post("/rollouts", json=body, headers=KEY) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert second.headers["idempotency-replayed"] == "true"
        assert len(client.get("/rollouts").json()["items"]) == 1
        other = client.post("/rollouts", json={**body, "version": "m@3"}, headers=KEY)
        assert "another request" in problem(other, 409, "conflict")
    with ground.client(Role.OPERATOR) as somebody:
        assert problem(somebody.post("/rollouts", json=body, headers=KEY), 409, "conflict").startswith("service tags")


def test_a_key_of_a_request_that_was_refused_can_be_used_again(ground: Ground) -> None:
    with ground.client() as client:
        assert ground.start(client).status_code == 404
        body = {"service": "tags", "version": "m@2", **WHY}
        assert client.post("/rollouts", json=body, headers=KEY).status_code == 404
        ground.apply(client)
        assert client.post("/rollouts", json=body, headers=KEY).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "schlüssel"])
def test_a_key_is_plain_and_short(ground: Ground, key: str) -> None:
    with ground.client() as client:
        answer = client.post("/jobs", json={"kind": "checkpoint", **WHY}, headers={b"idempotency-key": key.encode()})
    assert "Idempotency-Key" in problem(answer, 400, "input.invalid")


def test_many_at_once_under_one_key_make_one_change(ground: Ground) -> None:
    with ground.client() as client, ThreadPoolExecutor(8) as pool:
        body = {"kind": "checkpoint", **WHY}
        answers = list(pool.map(lambda _: client.post("/jobs", json=body, headers=KEY), range(8)))
        assert {one.status_code for one in answers} <= {202, 409}
        assert len({one.json()["id"] for one in answers if one.status_code == 202}) == 1
        assert len(client.get("/jobs").json()["items"]) == 1


def test_replies_are_kept_for_a_day_and_the_dead_are_succeeded(database_url: str) -> None:
    clock = FakeClock()
    database = open_store(database_url, clock)
    try:
        replies = Replies(database)
        assert replies.begin("k", "eva", "asked") is None
        with pytest.raises(Conflict, match="under way"):
            replies.begin("k", "eva", "asked")
        clock.advance(STUCK_S + 1)
        assert replies.begin("k", "eva", "asked") is None
        replies.finish("k", "eva", Reply(201, "{}"))
        assert replies.begin("k", "eva", "asked") == Reply(201, "{}")
        with pytest.raises(Conflict, match="another request"):
            replies.begin("k", "eva", "asked otherwise")
        assert replies.begin("k", "mia", "asked") is None
        clock.advance(KEPT_S + 1)
        assert replies.begin("k", "eva", "asked otherwise") is None
    finally:
        database.close()


def test_what_has_not_changed_is_not_sent_again(ground: Ground) -> None:
    with ground.client() as client:
        ground.apply(client)
        tag = client.get("/services/tags").headers["etag"]
        same = client.get("/services/tags", headers={"if-none-match": f'"other", W/{tag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
        ground.start(client)
        assert client.get("/services/tags", headers={"if-none-match": tag}).status_code == 200


def test_a_spec_is_applied_on_what_was_seen(ground: Ground) -> None:
    with ground.client() as client:
        assert problem(put(client, {"if-match": "*"}), 412, "conflict").startswith("there is no service")
        # A number that libraries write differently must not make two tags of one spec.
        made = ground.apply(client, spec=SPEC.replace("relative: null", "relative: null, min_weight: 0.00001"))
        seen = client.get("/services/tags").headers["etag"]
        assert made.headers["etag"] == seen
        changed = put(client, {"if-match": seen}, spec=SPEC.replace("98%", "97%"))
        assert (changed.status_code, changed.json()["revision"]) == (200, 2)
        assert "not what you have seen" in problem(put(client, {"if-match": seen}), 412, "conflict")
        assert "revision 2, not 1" in problem(put(client, {}, expected=1), 409, "conflict")
        assert client.get("/services/tags").json()["revision"] == 2
        revisions = client.get("/services/tags/revisions").json()["items"]
        assert [(one["revision"], one["spec"]["slos"]["availability"]["objective"]) for one in revisions] == [
            (2, 0.97),
            (1, 0.98),
        ]


def put(client: TestClient, headers: dict[str, str], **changed: Any) -> Any:
    return client.put("/services/tags", json={"spec": SPEC, **WHY, **changed}, headers=headers)


def test_postgresql_serves_as_well(tmp_path: Path, database_url: str) -> None:
    ground = Ground(tmp_path / "home", url=database_url)
    try:
        with ground.client() as client:
            ground.apply(client).raise_for_status()
            body = {"service": "tags", "version": "m@2", **WHY}
            rollout = [client.post("/rollouts", json=body, headers=KEY).json()["id"] for _ in range(2)]
            assert rollout[0] == rollout[1]
            ground.progress()
            assert client.post(f"/rollouts/{rollout[0]}/actions", json={"kind": "abort", **WHY}).status_code == 202
            assert client.post("/jobs", json={"kind": "checkpoint", **WHY}).status_code == 202
            listed = client.get("/rollouts").json()["items"]
            assert [(one["id"], one["phase"], one["decision"]["sequence"]) for one in listed] == [
                (rollout[0], "progressing", 0)
            ]
            for path in ("/decisions", "/audit", "/jobs", "/tokens", "/services"):
                assert client.get(path, params={"limit": 1}).json()["items"], path
            assert client.get("/decisions/verification").json()["intact"]
    finally:
        ground.close()


def test_two_rollouts_at_once_and_unknown_versions_are_refused(ground: Ground) -> None:
    with ground.client() as client:
        ground.apply(client)
        assert "m@9" in problem(ground.start(client, "m@9"), 404, "not-found")
        assert "champion already" in problem(ground.start(client, "m@1"), 400, "input.invalid")
        first = ground.start(client).json()["id"]
        assert first in problem(ground.start(client, "m@3"), 409, "conflict")


def test_offers_agree_with_what_is_met(ground: Ground) -> None:
    with ground.client() as client:
        ground.apply(client)
        rollout = ground.start(client).json()["id"]
        ground.progress()
        offers = client.get(f"/rollouts/{rollout}").json()["actions"]
        for offer in offers:
            answer = client.post(f"/rollouts/{rollout}/actions", json={"kind": offer["name"], **WHY})
            assert (answer.status_code == 202) == offer["allowed"], offer
            if not offer["allowed"]:
                assert offer["why_not"] in problem(answer, 403, "not-permitted")
        wishes = client.get(f"/rollouts/{rollout}").json()["wishes"]
        assert [one["kind"] for one in wishes] == [one["name"] for one in offers if one["allowed"]]


def test_four_eyes_need_a_second_approver(ground: Ground) -> None:
    mine, other = ground.token(Role.APPROVER, "eva"), ground.token(Role.APPROVER, "mia")
    with ground.client(token=mine) as eva, ground.client(token=other) as mia, ground.client(Role.OPERATOR) as ops:
        ground.apply(eva, spec=FOUR_EYES)
        rollout = ground.start(eva).json()["id"]
        ground.progress()
        ask = {"kind": "promote-step", **WHY}
        assert "eva had a part" in problem(eva.post(f"/rollouts/{rollout}/actions", json=ask), 403, "not-permitted")
        assert "needs an approver" in problem(ops.post(f"/rollouts/{rollout}/actions", json=ask), 403, "not-permitted")
        offered = {one["name"]: one for one in eva.get(f"/rollouts/{rollout}").json()["actions"]}
        assert not offered["promote-step"]["allowed"]
        assert mia.post(f"/rollouts/{rollout}/actions", json=ask).status_code == 202
        assert "four_eyes" in problem(ground.apply(ops, spec=SPEC), 403, "not-permitted")


def test_every_change_is_in_the_audit_with_who_and_why(ground: Ground) -> None:
    with ground.client(token=ground.token(Role.ADMIN, "eva")) as client:
        ground.apply(client)
        rollout = ground.start(client).json()["id"]
        client.post(f"/rollouts/{rollout}/actions", json={"kind": "abort", **WHY})
        job = client.post("/jobs", json={"kind": "checkpoint", **WHY}).json()["id"]
        assert client.post(f"/jobs/{job}/cancel", json=WHY).json()["state"] == "cancelled"
        told = client.get("/audit").json()["items"]
        mine = client.get("/audit", params={"subject": f"rollout/{rollout}"}).json()["items"]
        proof = client.get("/decisions/verification").json()
    assert [(one["action"], one["actor"], one["reason"]) for one in told if one["actor"] == "eva"] == [
        ("service.apply", "eva", "first"),
        ("service.crown", "eva", "first"),
        ("rollout.start", "eva", "faster"),
        ("rollout.abort", "eva", "because"),
        ("job.submit", "eva", "because"),
        ("job.cancel", "eva", "because"),
    ]
    assert [one["action"] for one in mine] == ["rollout.start", "rollout.abort"]
    assert (proof["intact"], proof["changes"]) == (True, len(told))


def test_lists_come_in_pages_without_gaps(ground: Ground) -> None:
    with ground.client() as client:
        ground.apply(client)
        for _ in range(5):
            ground.start(client).raise_for_status()
            ground.end()
        for path, key in (("/rollouts", "id"), ("/decisions", "sequence"), ("/audit", "sequence")):
            whole = [one[key] for one in client.get(path).json()["items"]]
            assert pages(client, path, key) == whole
            assert len(whole) >= 5
        assert len(client.get("/rollouts", params={"phase": "aborted", "service": "tags"}).json()["items"]) == 5
        assert client.get("/rollouts", params={"phase": "progressing"}).json()["items"] == []


def pages(client: TestClient, path: str, key: str) -> list[Any]:
    found, cursor = [], None
    while True:
        page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor is not None else {})).json()
        found += [one[key] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return found


def test_a_policy_is_rehearsed_before_it_is_used(ground: Ground) -> None:
    body = {"spec": SPEC, "rate": 20.0, "runs": 20, "fault": {"availability": 0.5}}
    with ground.client(Role.VIEWER) as client:
        trial = client.post("/simulate", json=body).json()["result"]["trials"][0]
        assert trial["rolled_back"]["count"] == 20
        wrong = client.post("/simulate", json={**body, "fault": {"nonsense": 0.5}})
        assert "nonsense" in problem(wrong, 400, "input.invalid")
        with ground.context.rehearsing:
            busy = client.post("/simulate", json=body)
        problem(busy, 429, "unavailable")
        assert busy.headers["retry-after"] == "5"


def test_a_version_that_was_registered_elsewhere_is_taken_up(ground: Ground) -> None:
    from contracts.ids import VersionId
    from registry.catalogue import ForeignVersion

    ground.shelf.foreign[VersionId("m", 4)] = ForeignVersion(VersionId("m", 4), 0.0, "file:///elsewhere")
    with ground.client(token=ground.token(Role.OPERATOR, "eva")) as client:
        assert client.post("/models/m/versions", json={"number": 4, **WHY}).json()["version"] == "m@4"
        assert problem(client.post("/models/m/versions", json={"number": 9, **WHY}), 404, "not-found")
    told = [(change.actor, change.action) for change in ground.stores.audit.changes("version/m@4")]
    assert told == [("eva", "version.adopt"), ("eva", "version.register")]
    assert [change.action for change in ground.stores.audit.changes("version/m@9")] == ["version.adopt"]


def test_each_version_of_a_list_is_found_by_its_number_and_its_aliases(ground: Ground) -> None:
    with ground.client() as client:
        rows = client.get("/models/m/versions").json()["items"]
        assert [row["version"] for row in rows] == ["m@3", "m@2", "m@1"]
        for row in rows:
            for number in (row["number"], *row["aliases"]):
                assert client.get(f"/models/{row['model']}/versions/{number}").json() == row
        for wrong in ("m@1", "0", "01", "1a", "-", "1" * 19):
            told = problem(client.get(f"/models/m/versions/{wrong}"), 422, "input.invalid")
            assert told == f"number: '{wrong}' is not a number or an alias"


def test_a_version_is_written_one_way_wherever_it_is_asked_for() -> None:
    document = assemble().openapi()
    bodies = (schema["properties"] for name, schema in document["components"]["schemas"].items() if "Body" in name)
    found = [body["version"] for body in bodies if "version" in body]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    found += [one["schema"] for each in operations for one in each.get("parameters", ()) if one["name"] == "version"]
    assert len(found) > 3
    assert {schema["pattern"] for schema in found} == {VERSION_PATTERN}


def test_an_error_inside_tells_nothing_of_the_inside(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("password=swordfish")

    monkeypatch.setattr(ground.context.services, "list", fail)
    with ground.client() as client:
        assert "swordfish" not in problem(client.get("/services"), 500, "internal")


def test_a_full_disk_is_told_and_nothing_is_half_done(ground: Ground) -> None:
    def fill(connection: sqlite3.Connection, record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(ground.stores.database.engine, "connect", fill)
    ground.stores.database.engine.dispose()
    with ground.client() as client:
        long = SPEC + "# " + "x" * 100_000
        answers = [ground.apply(client, spec=long, reason="x" * 2000) for _ in range(2)]
        for answer in answers:
            assert "disk is full" in problem(answer, 503, "unavailable")
            assert "make room" in answer.json()["hint"]
        assert client.get("/services").json()["items"] == []


def test_a_rehearsal_that_would_fill_the_memory_is_refused(ground: Ground) -> None:
    scored = "slos: {text: {scorer: text-accuracy, objective: 97%, margin: 5%}}"
    body = {"spec": f"{{service: tags, model: m, {scored}}}", "rate": 1e6, "runs": 500}
    with ground.client() as client:
        for path in ("/plan", "/simulate"):
            told = problem(client.post(path, json=body), 400, "input.invalid")
            assert told.startswith("runs: 500 runs at 1e+06 requests per second")

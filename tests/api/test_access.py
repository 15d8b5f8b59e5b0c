"""Who may ask what: every endpoint with every role, and what comes from somebody or somewhere else is refused."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from contracts.errors import SpecError
from controlplane.api.access import AccessSpec, Anonymous, load_access
from controlplane.api.app import PREFIX
from controlplane.api.route import PUBLIC
from controlplane.api.sessions import COOKIE
from controlplane.store.tokens import Role
from tests.api.ground import SPEC, Ground

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
WHY = {"reason": "because"}
PLAN = {"spec": "no spec at all", "rate": 20.0}
CALLS: list[tuple[str, str, Any, Role]] = [
    ("GET", "/services", None, VIEWER),
    ("GET", "/services/tags", None, VIEWER),
    ("GET", "/services/tags/revisions", None, VIEWER),
    ("GET", "/services/tags/revisions/1", None, VIEWER),
    ("PUT", "/services/tags", {"spec": SPEC, **WHY}, OPERATOR),
    ("GET", "/services/tags/kills", None, VIEWER),
    ("POST", "/services/tags/kills", {"version": "m@3", **WHY}, OPERATOR),
    ("DELETE", "/kills/000000000000?reason=x", None, OPERATOR),
    ("GET", "/services/tags/refusals", None, VIEWER),
    ("POST", "/services/tags/readmissions", {"version": "m@2", **WHY}, OPERATOR),
    ("GET", "/services/tags/freezes", None, VIEWER),
    ("POST", "/services/tags/freezes", WHY, OPERATOR),
    ("POST", "/freezes", WHY, OPERATOR),
    ("GET", "/services/tags/actions", None, VIEWER),
    ("POST", "/services/tags/undo", WHY, OPERATOR),
    ("GET", "/services/tags/silences", None, VIEWER),
    ("POST", "/services/tags/silences", {"objective": "availability", "until_s": 2**32, **WHY}, OPERATOR),
    ("DELETE", "/silences/000000000000?reason=x", None, OPERATOR),
    ("DELETE", "/freezes/000000000000?reason=x", None, OPERATOR),
    ("GET", "/rollouts", None, VIEWER),
    ("POST", "/rollouts", {"service": "tags", "version": "m@2", **WHY}, OPERATOR),
    ("GET", "/rollouts/ROLLOUT", None, VIEWER),
    ("POST", "/rollouts/ROLLOUT/actions", {"kind": "pause", **WHY}, OPERATOR),
    ("POST", "/rollouts/ROLLOUT/replay", {"spec": "x"}, VIEWER),
    ("GET", "/decisions", None, VIEWER),
    ("GET", "/decisions/verification", None, VIEWER),
    ("GET", "/decisions/0", None, VIEWER),
    ("GET", "/audit", None, OPERATOR),
    ("GET", "/jobs", None, VIEWER),
    ("POST", "/jobs", {"kind": "checkpoint", **WHY}, OPERATOR),
    ("GET", "/jobs/JOB", None, VIEWER),
    ("POST", "/jobs/JOB/cancel", WHY, OPERATOR),
    ("GET", "/models", None, VIEWER),
    ("GET", "/models/m/versions", None, VIEWER),
    ("GET", "/models/m/versions/champion", None, VIEWER),
    ("GET", "/models/m/versions/1/actions", None, VIEWER),
    ("POST", "/models/m/versions", {"number": 9, **WHY}, OPERATOR),
    ("GET", "/comparisons?one=m@1&other=m@2", None, VIEWER),
    ("GET", "/services/tags/headroom?version=m@2", None, VIEWER),
    ("POST", "/fleet/warm", {"version": "m@2", **WHY}, OPERATOR),
    ("DELETE", "/fleet/warm/000000000000?reason=x", None, OPERATOR),
    ("POST", "/fleet/drains", {"target": "v1-0", **WHY}, OPERATOR),
    ("GET", "/slos", None, VIEWER),
    ("GET", "/slos/tags", None, VIEWER),
    ("GET", "/fleet", None, VIEWER),
    ("GET", "/reviews", None, VIEWER),
    ("GET", "/reports", None, VIEWER),
    ("GET", "/reports/2025-W01", None, VIEWER),
    ("POST", "/plan", PLAN, VIEWER),
    ("POST", "/simulate", PLAN, VIEWER),
    ("GET", "/whoami", None, VIEWER),
    ("GET", "/tokens", None, ADMIN),
    ("POST", "/tokens", {"holder": "eva", "role": "viewer", **WHY}, ADMIN),
    ("DELETE", "/tokens/000000000000?reason=x", None, ADMIN),
]
STREAM = ("GET", "/stream")


@pytest.fixture
def busy(ground: Ground) -> Ground:
    """A control plane with a service, a rollout under way, and a job."""
    with ground.client() as client:
        ground.apply(client).raise_for_status()
        ground.start(client).raise_for_status()
    ground.progress()
    ground.stores.jobs.submit("checkpoint", actor="test", job_id="JOB")
    return ground


def call(client: TestClient, ground: Ground, method: str, path: str, body: Any) -> int:
    rollout = ground.stores.rollouts.recent()[0].id
    return client.request(method, path.replace("ROLLOUT", rollout), json=body).status_code


def test_every_endpoint_is_in_the_matrix(ground: Ground) -> None:
    described = {
        (method.upper(), path) for path, operations in ground.api.openapi()["paths"].items() for method in operations
    }
    patterns = {(method, path.partition("?")[0]) for method, path, _, _ in CALLS} | {STREAM}
    missing = {
        (method, path)
        for method, path in described
        if path not in PUBLIC and not any(m == method and _fits(path, p) for m, p in patterns)
    }
    assert missing == set()


def _fits(template: str, path: str) -> bool:
    ours, theirs = template.split("/"), path.split("/")
    return len(ours) == len(theirs) and all(a == b or a.startswith("{") for a, b in zip(ours, theirs, strict=True))


def test_each_role_may_do_what_it_may(busy: Ground) -> None:
    wrong = []
    for role in Role:
        with busy.client(role) as client:
            statuses = [(one, call(client, busy, *one[:3])) for one in CALLS]
        wrong += [(role, one[:2], s) for one, s in statuses if (s != 403) != role.includes(one[3]) or s in {401, 500}]
    assert wrong == []


def test_a_stranger_from_elsewhere_may_do_nothing(busy: Ground) -> None:
    with busy.client(None, address="192.0.2.7") as client:
        assert [one[:2] for one in CALLS if call(client, busy, *one[:3]) != 401] == []


def test_on_this_machine_everybody_may_look(busy: Ground) -> None:
    with busy.client(None) as client:
        assert client.get("/services").status_code == 200
        assert client.get("/whoami").json() == {
            "actor": "anonymous",
            "role": "viewer",
            "scopes": [],
            "via": "anonymous",
            "expires_s": None,
        }
        before = len(busy.stores.audit.changes())
        refused = busy.apply(client, reason="mine now")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert len(busy.stores.audit.changes()) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "192.0.2.7"},
        {"x-forwarded-proto": "https"},
        {"x-real-ip": "192.0.2.7"},
        {"forwarded": "for=192.0.2.7"},
        {"via": "1.1 proxy"},
    ],
)
def test_a_proxy_on_this_machine_lets_nobody_look(busy: Ground, headers: dict[str, str]) -> None:
    with busy.client(None) as client:
        assert client.get("/services", headers=headers).status_code == 401


def test_nobody_looks_where_that_is_switched_off(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(anonymous=Anonymous.NONE))
    with ground.client(None) as client:
        assert client.get("/services").status_code == 401
        assert client.get("/health").status_code == 200
    ground.close()


@pytest.mark.parametrize(
    "header",
    [
        "Bearer rst_000000000000_" + "a" * 43,
        "Bearer nonsense",
        "Bearer ",
        "Basic YWRtaW46YWRtaW4=",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmEifQ.",
    ],
)
def test_a_wrong_token_is_worse_than_none(busy: Ground, header: str) -> None:
    with busy.client(None) as client:
        answer = client.get("/services", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthenticated"


def test_a_token_ends_when_it_expires_and_when_it_is_revoked(ground: Ground) -> None:
    short, gone = ground.token(ADMIN, "short", lifetime_s=60.0), ground.token(ADMIN, "gone")
    with ground.client(token=short) as client, ground.client(token=gone) as other:
        assert client.get("/tokens").status_code == 200
        ground.clock.advance(61.0)
        assert "expired" in client.get("/tokens").json()["detail"]
        mine = next(one for one in other.get("/tokens").json()["items"] if one["holder"] == "gone")
        assert other.delete(f"/tokens/{mine['id']}", params={"reason": "lost"}).status_code == 200
        assert "revoked" in other.get("/tokens").json()["detail"]


def test_a_token_of_one_service_is_good_for_that_one(busy: Ground) -> None:
    token = busy.token(OPERATOR, scopes=["other"])
    with busy.client(token=token) as client:
        for method, path, body, needed in CALLS:
            if path != "/whoami" and OPERATOR.includes(needed):
                assert call(client, busy, method, path, body) in {403, 404}, path
    with busy.client(token=busy.token(OPERATOR, scopes=["tags"])) as client:
        rollout = busy.stores.rollouts.recent()[0].id
        for path in (
            "/services/tags",
            "/rollouts?service=tags",
            f"/rollouts/{rollout}",
            f"/decisions?subject={rollout}",
        ):
            assert client.get(path).status_code == 200, path
        assert client.post(f"/rollouts/{rollout}/actions", json={"kind": "pause", **WHY}).status_code == 202
        assert client.get("/services").status_code == 403


def test_a_token_is_told_once_and_never_listed(ground: Ground) -> None:
    with ground.client() as client:
        body = {"holder": "eva", "role": "operator", "scopes": ["tags"], "lifetime": "30d", **WHY}
        made = client.post("/tokens", json=body, headers={"idempotency-key": "k"})
        again = client.post("/tokens", json=body, headers={"idempotency-key": "k"})
        listed = client.get("/tokens").text
    text = made.json()["text"]
    assert made.headers["cache-control"] == "no-store"
    assert again.json() == {**made.json(), "text": None}
    assert text not in listed
    with ground.client(token=text) as client:
        who = client.get("/whoami").json()
    assert (who["actor"], who["role"], who["scopes"]) == ("eva", "operator", ["tags"])


def log_in(client: TestClient, token: str, **headers: str) -> Any:
    return client.post("/session", json={"token": token}, headers={"sec-fetch-site": "same-origin", **headers})


def test_a_browser_logs_in_and_out(busy: Ground) -> None:
    with busy.client(None) as client:
        answer = log_in(client, busy.token(OPERATOR, "eva"))
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 201
        for word in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert word in cookie
        assert client.get("/whoami").json()["via"] == "session"
        same = {"sec-fetch-site": "same-origin"}
        paused = client.post(
            f"/rollouts/{busy.stores.rollouts.recent()[0].id}/actions", json={"kind": "pause", **WHY}, headers=same
        )
        assert paused.status_code == 202
        stolen = client.cookies[COOKIE]
        assert client.delete("/session", headers=same).status_code == 204
        assert client.get("/whoami").json()["via"] == "anonymous"
        assert client.get("/whoami", headers={"cookie": f"{COOKIE}={stolen}"}).status_code == 401


def test_a_logout_outlives_the_control_plane(tmp_path: Path, database_url: str) -> None:
    before = Ground(tmp_path, url=database_url)
    with before.client(None) as client:
        log_in(client, before.token(ADMIN))
        cookie = client.cookies[COOKIE]
        log_in(client, before.token(ADMIN))
        kept = client.cookies[COOKIE]
        client.delete("/session", headers={"sec-fetch-site": "same-origin", "cookie": f"{COOKIE}={cookie}"})
    before.close()
    after = Ground(tmp_path, url=database_url)
    with after.client(None) as client:
        answers = [client.get("/whoami", headers={"cookie": f"{COOKIE}={one}"}).status_code for one in (cookie, kept)]
    after.close()
    assert answers == [401, 200]


def test_a_session_ends_with_its_token_and_with_its_time(ground: Ground) -> None:
    token = ground.token(ADMIN, "eva")
    with ground.client(None) as client:
        log_in(client, token)
        assert client.get("/tokens").status_code == 200
        ground.stores.tokens.revoke(ground.stores.tokens.check(token).id, actor="test", reason="lost")
        assert client.get("/tokens").status_code == 401
    with ground.client(None) as client:
        log_in(client, ground.token(ADMIN, "mia"))
        ground.clock.advance(ground.access.session + 1)
        assert "over" in client.get("/tokens").json()["detail"]


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-1] + ("0" if c[-1] != "0" else "1"), lambda c: "x" + c, lambda c: "é.1.2.3"]
)
def test_a_cookie_that_we_did_not_sign_is_refused(ground: Ground, damage: Any) -> None:
    with ground.client(None) as client:
        log_in(client, ground.token(ADMIN))
        damaged = damage(client.cookies[COOKIE])
        client.cookies.clear()
        answer = client.get("/whoami", headers={b"cookie": f"{COOKIE}={damaged}".encode()})
    assert answer.status_code == 401


def test_another_sites_page_changes_nothing(busy: Ground) -> None:
    pages = [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {},
    ]
    with busy.client(None) as client:
        log_in(client, busy.token(ADMIN))
        job = {"kind": "checkpoint", **WHY}
        assert [client.post("/jobs", json=job, headers=one).status_code for one in pages] == [403] * len(pages)
    assert len(busy.stores.jobs.list()) == 1


def test_another_sites_page_logs_nobody_in(ground: Ground) -> None:
    with ground.client(None) as client:
        assert log_in(client, ground.token(ADMIN), **{"sec-fetch-site": "cross-site"}).status_code == 403


def test_our_own_page_may_change_things_without_fetch_metadata(busy: Ground) -> None:
    with busy.client(None) as client:
        log_in(client, busy.token(ADMIN))
        answer = client.post("/jobs", json={"kind": "checkpoint", **WHY}, headers={"origin": "http://127.0.0.1"})
    assert answer.status_code == 202


def test_another_host_is_not_answered(ground: Ground) -> None:
    with ground.client(host="evil.example") as client:
        answer = client.get("/health")
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_host_that_was_added_is_answered_but_trusts_nobody(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(hosts=("roost.example",)))
    with ground.client(None, host="roost.example") as client:
        assert client.get("/health").status_code == 200
        assert client.get("/services").status_code == 401
    ground.close()


def test_behind_a_proxy_that_says_nothing_nobody_is_taken_for_this_machine(tmp_path: Path) -> None:
    """What nginx sends without a line on forwarding: from loopback, to the loopback's name, with no other header."""
    ground = Ground(tmp_path, AccessSpec(hosts=("roost.example",)))
    with ground.client(None) as client:
        assert client.get("/services").status_code == 401
    ground.close()
    told = AccessSpec.model_validate({"hosts": ["roost.example"], "anonymous": "viewer"})
    assert told.anonymous is Anonymous.VIEWER, "who writes it down means it"


def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(max_body=2048))
    with ground.client() as client:
        answer = ground.apply(client, reason="x" * 3000)
        chunked = client.put("/services/tags", content=(b"x" * 1000 for _ in range(4)))
        keyed = client.put("/services/tags", content=b"x" * 4000, headers={"idempotency-key": "k"})
    ground.close()
    for one in (answer, chunked, keyed):
        assert one.status_code == 413
        assert one.headers["content-type"] == "application/problem+json"


def test_who_asks_too_much_has_to_wait(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(requests_per_second=1.0, burst=3))
    with ground.client(VIEWER, address="192.0.2.7") as client, ground.client(ADMIN) as other:
        statuses = [client.get("/whoami").status_code for _ in range(5)]
        refused = client.get("/whoami")
        assert statuses == [200] * 3 + [429] * 2
        assert refused.headers["retry-after"] == "1"
        assert other.get("/whoami").status_code == 200
        ground.clock.advance(1.0)
        assert client.get("/whoami").status_code == 200
    ground.close()


def test_who_guesses_tokens_has_to_wait(tmp_path: Path) -> None:
    ground = Ground(tmp_path, AccessSpec(requests_per_second=1.0, burst=3))
    with ground.client(token="rst_000000000000_" + "a" * 43) as client:
        assert [client.get("/whoami").status_code for _ in range(5)] == [401] * 3 + [429] * 2
    ground.close()


def test_access_is_read_from_its_file_with_every_mistake_told(tmp_path: Path) -> None:
    assert load_access(tmp_path) == AccessSpec()
    (tmp_path / "access.yaml").write_text("{anonymous: none, session: 1h, hosts: [roost.example]}")
    assert load_access(tmp_path) == AccessSpec(anonymous=Anonymous.NONE, session=3600.0, hosts=("roost.example",))
    (tmp_path / "access.yaml").write_text("{anybody: none, session: 0s, oidc: {issuer: x}}")
    with pytest.raises(SpecError) as told:
        load_access(tmp_path)
    assert {"anybody", "session", "oidc.audience"} <= {problem.path for problem in told.value.problems}


def test_pages_of_the_api_are_where_it_says(ground: Ground) -> None:
    assert ground.api.openapi()["servers"] == [{"url": PREFIX}]

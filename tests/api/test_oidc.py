"""Tokens of an identity provider: taken when everything about them is right, refused for each thing that is not."""

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey

from controlplane.api.access import AccessSpec, OidcSpec
from controlplane.api.oidc import FRESH_S, SHORTEST_S
from controlplane.store.tokens import Role
from tests.api.ground import Ground

ISSUER, AUDIENCE = "https://id.example", "roost"
ROLES = {"ml": Role.OPERATOR, "leads": Role.APPROVER}


class Provider:
    """An identity provider with keys of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks.json"
        self.keys: list[OctKey | RSAKey | ECKey | OKPKey] = [RSAKey.generate_key(2048, {"kid": "first"}, private=True)]
        self.publish()

    def publish(self) -> None:
        self.file.write_text(self.public())

    def public(self) -> str:
        return json.dumps(KeySet(self.keys).as_dict(private=False))

    def token(self, now_s: float, *, key: Any = None, header: dict[str, Any] | None = None, **changed: Any) -> str:
        key = key or self.keys[-1]
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eva", "groups": ["ml"], "iat": int(now_s)}
        claims |= {"exp": int(now_s) + 300, **changed}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": key.kid, **(header or {})}, claims, key)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Provider:
    return Provider(tmp_path_factory.mktemp("provider"))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Ground]:
    spec = OidcSpec(issuer=ISSUER, audience=AUDIENCE, jwks=str(provider.file), roles=ROLES)
    made = Ground(tmp_path_factory.mktemp("home"), AccessSpec(oidc=spec))
    yield made
    made.close()


def whoami(ground: Ground, token: str) -> Any:
    with ground.client(token=token) as client:
        return client.get("/whoami")


def test_a_person_is_known_by_name_and_greatest_group(ground: Ground, provider: Provider) -> None:
    now_s = ground.clock.now_s()
    told = whoami(ground, provider.token(now_s)).json()
    assert (told["actor"], told["role"], told["via"]) == ("eva", "operator", "oidc")
    assert whoami(ground, provider.token(now_s, groups=["x", "ml", "leads"])).json()["role"] == "approver"
    assert whoami(ground, provider.token(now_s, groups="leads")).json()["role"] == "approver"
    assert whoami(ground, provider.token(now_s, aud=["other", AUDIENCE])).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another-app"},
        {"aud": None},
        {"exp": 1_749_999_000},
        {"exp": None},
        {"exp": "never"},
        {"nbf": 1_750_000_100},
        {"iat": 1_750_000_100},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
    ids=str,
)
def test_wrong_claims_are_refused(ground: Ground, provider: Provider, changed: dict[str, Any]) -> None:
    answer = whoami(ground, provider.token(ground.clock.now_s(), **changed))
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("groups", [[], ["strangers"], None, {"ml": True}, 3])
def test_a_person_without_a_group_of_ours_may_nothing(ground: Ground, provider: Provider, groups: Any) -> None:
    assert whoami(ground, provider.token(ground.clock.now_s(), groups=groups)).status_code == 403


def test_clocks_may_differ_a_little(ground: Ground, provider: Provider) -> None:
    now_s = ground.clock.now_s()
    for skew_s, status in ((25, 200), (45, 401)):
        assert whoami(ground, provider.token(now_s + skew_s)).status_code == status, "their clock is ahead"
        late = provider.token(now_s - 300 - skew_s)
        assert whoami(ground, late).status_code == status, "their clock is behind"


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_other_keys_and_algorithms_are_refused(ground: Ground, provider: Provider) -> None:
    now_s = ground.clock.now_s()
    stranger = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
    assert whoami(ground, provider.token(now_s, key=stranger)).status_code == 401
    good = provider.token(now_s)
    header, claims, signature = good.split(".")
    none = "eyJhbGciOiJub25lIn0"
    for forged in (
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        f"{header}.{claims}.",
        f"{header}.{claims}.AAAA",
    ):
        assert whoami(ground, forged).status_code == 401
    # The public key as an HMAC secret: the classic confusion of algorithms.
    confused = encode(json.dumps({"alg": "HS256", "kid": "first"}).encode())
    public = RSAKey.import_key(provider.keys[0].as_dict(private=False)).as_pem(private=False)
    mac = hmac.digest(public, f"{confused}.{claims}".encode(), "sha256")
    assert whoami(ground, f"{confused}.{claims}.{encode(mac)}").status_code == 401
    assert whoami(ground, "a.b.c").status_code == 401
    assert whoami(ground, "x" * 20_000).status_code == 401


def test_a_new_key_is_looked_for_but_not_all_the_time(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def get(url: str, **_: Any) -> httpx.Response:
        asked.append(url)
        return httpx.Response(200, text=provider.public(), request=httpx.Request("GET", url))

    monkeypatch.setattr(httpx, "get", get)
    spec = OidcSpec(issuer=ISSUER, audience=AUDIENCE, jwks=f"{ISSUER}/keys", roles=ROLES)
    ground = Ground(tmp_path, AccessSpec(oidc=spec))
    try:
        assert whoami(ground, provider.token(ground.clock.now_s())).status_code == 200
        fresh = ECKey.generate_key("P-256", {"kid": "second"}, private=True)
        provider.keys.append(fresh)

        def newer() -> str:
            return provider.token(ground.clock.now_s(), header={"alg": "ES256"})

        assert [whoami(ground, newer()).status_code for _ in range(3)] == [401] * 3
        assert len(asked) == 1
        ground.clock.advance(SHORTEST_S + 1)
        assert whoami(ground, newer()).status_code == 200
        ground.clock.advance(FRESH_S + 1)
        assert whoami(ground, newer()).status_code == 200
        assert asked == [f"{ISSUER}/keys"] * 3
    finally:
        provider.keys.pop()
        ground.close()


def test_keys_that_can_not_be_had_are_told(tmp_path: Path, provider: Provider) -> None:
    keys = tmp_path / "keys.json"
    spec = OidcSpec(issuer=ISSUER, audience=AUDIENCE, jwks="keys.json", roles=ROLES)
    ground = Ground(tmp_path, AccessSpec(oidc=spec))
    try:
        token = provider.token(ground.clock.now_s())
        assert whoami(ground, token).status_code == 503
        keys.write_text("{}")
        assert whoami(ground, token).status_code == 400
        keys.write_text(provider.public())
        assert whoami(ground, token).status_code == 200
    finally:
        ground.close()

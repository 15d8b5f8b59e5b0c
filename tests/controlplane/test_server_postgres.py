"""Two control planes on one PostgreSQL database: a version is promoted, the leader is killed, the other goes on."""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue
from tests.controlplane.postgres import PostgresServer, wait_for
from tests.controlplane.test_server import ROWS, SPEC, Home, Users
from tests.serving.models import write_onnx

QUICK = SPEC.replace("bake: 1h, max_duration: 2h", "bake: 2s, max_duration: 10m, alpha: 5%, beta: 5%")
ASKERS = 3


@pytest.fixture
def homes(tmp_path: Path, postgres: PostgresServer) -> Iterator[tuple[Home, Home]]:
    """Two homes that share database, versions and keys; a control plane runs on the first."""
    shared = tmp_path / "registry"
    shared.mkdir()
    catalogue = MlflowCatalogue(
        f"sqlite:///{shared / 'mlflow.db'}", artifacts=shared / "artifacts", manifests=shared / "manifests"
    )
    for name in ("one", "other"):
        catalogue.register("m", Registration(write_onnx(tmp_path / name)))
    environment = {"ROOST_DATABASE_URL": postgres.new_database(), "ROOST_REGISTRY": str(shared)}
    first, second = (Home(tmp_path / name, **environment) for name in ("first", "second"))
    try:
        first.roost("up", "--port", "0", "--detach")
        shutil.copytree(first.folder / "keys", second.folder / "keys")
        yield first, second
    finally:
        for home in (second, first):
            home.roost("down")


def serves(home: Home) -> bool:
    url = f"{home.server()['gateway_url']}/v2/models/widths/infer"
    return httpx.post(url, json=ROWS, trust_env=False, timeout=30).status_code == 200


def leads(home: Home) -> bool:
    return bool(httpx.get(f"{home.server()['url']}/api/v1/health", trust_env=False, timeout=30).json()["leads"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_version_is_promoted_and_the_leaders_death_ends_no_rollout(homes: tuple[Home, Home], tmp_path: Path) -> None:
    first, second = homes
    (tmp_path / "service.yaml").write_text(QUICK)
    first.roost("service", "apply", str(tmp_path / "service.yaml"), "--champion", "m@1", "--reason", "the first")
    second.roost("up", "--port", "0", "--detach")
    wait_for(lambda: serves(first), 120)
    with ExitStack() as stack:
        users = [stack.enter_context(Users(first.server()["gateway_url"])) for _ in range(ASKERS)]
        begun = second.roost("rollout", "start", "m@2", "--reason", "newer").split()[0]
        first.roost("rollout", "wait", begun, "--until", "promoted", "--timeout", "120s")
        assert (leads(first), leads(second)) == (True, False)
        back = first.roost("rollout", "start", "m@1", "--reason", "and back").split()[0]
        first.kill()
        wait_for(lambda: leads(second), 60)
        wait_for(lambda: serves(second), 120)
        assert [user.bad for user in users] == [[]] * ASKERS, "the dead leader's gateway serves on"
    with ExitStack() as stack:
        for _ in range(ASKERS):
            stack.enter_context(Users(second.server()["gateway_url"]))
        second.roost("rollout", "wait", back, "--until", "promoted", "--timeout", "120s")
    assert json.loads(second.roost("service", "show", "widths", "--json"))["champion"] == "m@1"
    assert "each bound to the one before" in second.roost("decision", "verify")

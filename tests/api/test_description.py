"""The whole OpenAPI document tried with generated requests, allowed and not: Schemathesis finds nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS

from contracts.specs.loading import load_service_spec
from controlplane.api.access import AccessSpec, Anonymous
from controlplane.api.app import PREFIX
from controlplane.store.tokens import Role
from tests.api.ground import SPEC, Ground

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A control plane with a service and a living rollout, that knows nobody without a token."""
    access = AccessSpec(anonymous=Anonymous.NONE, requests_per_second=1e6, burst=1_000_000)
    made = Ground(tmp_path_factory.mktemp("home"), access)
    with made.client() as client:
        made.apply(client).raise_for_status()
        made.start(client).raise_for_status()
    made.progress()
    yield made
    made.close()


@pytest.fixture(scope="module")
def described(ground: Ground) -> schemathesis.BaseSchema:
    config = schemathesis.Config.from_dict({})
    return schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", ground.app, base_url=f"http://127.0.0.1{PREFIX}")


schema = schemathesis.pytest.from_fixture("described")


@schema.exclude(path="/stream").parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_what_is_described(case: schemathesis.Case, ground: Ground) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {admin(ground)}"})


def admin(ground: Ground) -> str:
    if not hasattr(ground, "admin"):
        ground.admin = ground.token(Role.ADMIN, "schemathesis")
    return ground.admin

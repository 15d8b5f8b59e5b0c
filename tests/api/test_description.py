"""The whole OpenAPI document tried with generated requests, allowed and not: Schemathesis finds nothing."""

from pathlib import Path

import pytest

from controlplane.api.access import AccessSpec, Anonymous
from controlplane.api.app import PREFIX
from controlplane.store.tokens import Role
from tests.api.ground import Ground

EXAMPLES = 3
ACCEPTED = ["2xx", "400", "401", "403", "404", "409", "412", "429"]
"""Answers to what the document allows: 400 is for what it can't tell, such as a spec with a mistake."""


def find_failures(ground: Ground) -> tuple[list[str], int]:
    """Return what all checks found in all phases, each with its request, and how many requests were made."""
    import schemathesis
    from schemathesis import engine
    from schemathesis.engine import events

    config = schemathesis.Config.from_dict(
        {
            "headers": {"Authorization": f"Bearer {ground.token(Role.ADMIN, 'schemathesis')}"},
            "generation": {"max-examples": EXAMPLES, "deterministic": True},
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            "continue-on-failure": True,
            "max-stream-events": 1,
        }
    )
    schema = schemathesis.openapi.from_asgi(f"{PREFIX}/openapi.json", ground.app, config=config)
    failures, requests = [], 0
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            requests += len(event.recorder.interactions)
            for checks in event.recorder.checks.values():
                found = (check.failure_info for check in checks if check.failure_info is not None)
                failures += [f"{one.failure.title}: {one.failure.message}\n{one.code_sample}" for one in found]
        elif isinstance(event, events.NonFatalError | events.FatalError):
            failures.append(repr(event))
    return failures, requests


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_answer_is_what_is_described(tmp_path: Path) -> None:
    access = AccessSpec(anonymous=Anonymous.NONE, hosts=("testserver",), requests_per_second=1e6, burst=1_000_000)
    ground = Ground(tmp_path, access)
    try:
        with ground.client() as client:
            ground.apply(client).raise_for_status()
            ground.start(client).raise_for_status()
        ground.progress()
        failures, requests = find_failures(ground)
    finally:
        ground.close()
    assert not failures, "\n\n".join(failures)
    assert requests > 1000

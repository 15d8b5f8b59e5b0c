"""Workers: how one of a version is started, and how it warms up before users come."""

import httpx

from contracts.errors import RoostError, Unavailable
from contracts.ids import VersionId, VersionRef
from contracts.wire.capacity import ServingPlan
from contracts.wire.routing import Endpoint
from contracts.wire.worker import GenerateRequest, WorkerSpec
from registry.catalogue import Catalogue
from registry.golden import is_blank
from serving.fleet.port import Fleet

WARM_UP_TIMEOUT_S = 120.0


def worker_spec(catalogue: Catalogue, version: VersionId) -> WorkerSpec:
    """Return how to start a worker for a version on a CPU, its bytes verified just now, with what its profile found."""
    record = catalogue.get(VersionRef(version.model, number=version.number))
    plan = record.serving.get("cpu", ServingPlan())
    return WorkerSpec(
        version=version,
        digest=record.digest,
        directory=str(catalogue.fetch(version)),
        defaults=record.defaults,
        faults=record.faults,
        limits=plan.limits,
        capacity=plan.capacity,
    )


def warm_up(fleet: Fleet, version: VersionId, prompts: tuple[str, ...]) -> None:
    """Let every worker of a version draw the prompts; see ``warm_replica``."""
    for endpoint in fleet.observe().endpoints(version):
        warm_replica(version, endpoint, prompts)


def warm_replica(version: VersionId, endpoint: Endpoint, prompts: tuple[str, ...]) -> int:
    """Let one worker draw the prompts, so that first-request costs are paid before users come.

    Returns how many of the pictures are blank. A worker that takes tensors draws nothing: it has warmed up when it
    loaded.

    Raises:
        Unavailable: when a worker doesn't answer.
        RoostError: when it can't draw.
    """
    blank = 0
    for seed, prompt in enumerate(prompts):
        request = GenerateRequest(prompt=prompt, seed=seed).model_dump_json(exclude_none=True)
        try:
            answer = httpx.post(f"{endpoint.url}/generate", content=request, timeout=WARM_UP_TIMEOUT_S, trust_env=False)
            if answer.status_code != httpx.codes.OK and _takes_tensors(endpoint):
                return 0
        except httpx.HTTPError as error:
            raise Unavailable(f"{version} did not answer a warm-up prompt: {error}") from None
        if answer.status_code != httpx.codes.OK:
            raise RoostError(f"{version} can't draw a warm-up prompt: {answer.text[:200]}")
        blank += bool(answer.content) and is_blank(answer.content)
    return blank


def _takes_tensors(endpoint: Endpoint) -> bool:
    answer = httpx.get(f"{endpoint.url}/metadata", timeout=WARM_UP_TIMEOUT_S, trust_env=False)
    return answer.status_code == httpx.codes.OK

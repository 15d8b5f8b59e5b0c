"""JSON Schemas of everything that people write and that crosses the wire."""

from typing import Any

from contracts.errors import NotFound
from contracts.events import Event
from contracts.model import Frozen
from contracts.specs.rollout import RolloutSpec
from contracts.specs.service import ServiceSpec
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryBatch
from contracts.wire.worker import GenerateRequest, WorkerHealth, WorkerSpec

DOCUMENTS: dict[str, type[Frozen]] = {
    "service": ServiceSpec,
    "rollout": RolloutSpec,
    "event": Event,
    "routing-table": RoutingTable,
    "telemetry-batch": TelemetryBatch,
    "generate-request": GenerateRequest,
    "worker-health": WorkerHealth,
    "worker-spec": WorkerSpec,
}


def export_schema(document: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document.

    Raises:
        NotFound: with the names there are.
    """
    if document not in DOCUMENTS:
        raise NotFound(f"there is no document called {document!r}", hint=f"documents: {', '.join(DOCUMENTS)}")
    schema = DOCUMENTS[document].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

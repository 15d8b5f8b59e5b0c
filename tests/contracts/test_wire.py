"""What crosses the wire: nothing inconsistent gets through, newer tables win."""

import pytest
from pydantic import ValidationError

from contracts.ids import VersionId
from contracts.wire.routing import Endpoint, RoutingTable, ServiceRoutes, Split
from contracts.wire.telemetry import AttemptCounts, Exposure, TelemetryBatch
from contracts.wire.worker import GenerateRequest, WorkerSpec


def routes(weight: float = 0.0) -> ServiceRoutes:
    return ServiceRoutes(
        service="tags",
        champion=VersionId("m", 1),
        split=Split(rollout_id="r1", salt="saltsalt", challenger=VersionId("m", 2), weight=weight),
        endpoints={"m@1": (Endpoint(replica="v1-0", url="http://127.0.0.1:1"),)},
    )


def test_a_version_with_traffic_needs_an_endpoint() -> None:
    assert routes(0.0).split is not None
    with pytest.raises(ValidationError, match="m@2 has traffic but no endpoint"):
        routes(0.1)


def test_newer_is_told_by_fence_first() -> None:
    def table(fence: int, revision: int) -> RoutingTable:
        return RoutingTable(fence=fence, revision=revision, services={"tags": routes()})

    assert table(2, 1).is_newer_than(table(1, 99))
    assert table(1, 2).is_newer_than(table(1, 1))
    assert not table(1, 1).is_newer_than(table(1, 1))
    assert table(0, 0).is_newer_than(None)


def test_a_routing_table_round_trips() -> None:
    table = RoutingTable(fence=1, revision=7, services={"tags": routes()})
    assert RoutingTable.model_validate_json(table.model_dump_json()) == table


@pytest.mark.parametrize("weight", [-0.01, 1.01, float("nan")])
def test_weights_stay_between_0_and_1(weight: float) -> None:
    with pytest.raises(ValidationError):
        Split(rollout_id="r1", salt="saltsalt", challenger=VersionId("m", 2), weight=weight)


@pytest.mark.parametrize("counts", [{"total": 1, "bad": {"oom": 2}}, {"total": -1}, {"total": 2, "slow": {"p95": 3}}])
def test_counts_that_contradict_themselves_are_refused(counts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AttemptCounts.model_validate({"service": "s", "version": "m@1", "replica": "a", "lane": "l", **counts})


def test_time_in_a_batch_runs_forward() -> None:
    with pytest.raises(ValidationError, match="before start_s"):
        TelemetryBatch(gateway="g", boot="b", sequence=0, start_s=2, end_s=1, table_revision=0)


def test_an_exposure_needs_a_real_weight() -> None:
    with pytest.raises(ValidationError):
        Exposure(service="s", rollout_id="r", weight=2, champion=1, challenger=1)


@pytest.mark.parametrize("field", [{"height": 31}, {"steps": 0}, {"seed": -1}, {"guidance": -1}, {"colour": "red"}])
def test_pictures_that_cannot_be_drawn_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate({"prompt": "a", "seed": 1, **field})


def test_an_unknown_runtime_is_an_error() -> None:
    good = {"version": "m@1", "digest": "sha256:" + "0" * 64, "directory": "/models/m"}
    assert WorkerSpec.model_validate(good).device == "cpu"
    with pytest.raises(ValidationError):
        WorkerSpec.model_validate({**good, "runtime": "magic"})

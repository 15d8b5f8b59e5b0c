"""Lanes: word count, mentions, tier and an explicit wish decide, in the order of the spec."""

import pytest

from contracts.clock import FakeClock
from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.wire.routing import Endpoint, ServiceRoutes
from serving.gateway.intake import read_lane
from serving.gateway.service import Service

ROUTE = (
    {"when": {"tier": "gold"}, "lane": "best"},
    {"when": {"prompt_mentions": ["Logo", "brand"]}, "lane": "final"},
    {"when": {"prompt_words_from": 5, "prompt_words_below": 8}, "lane": "final"},
    {"when": {"tier": "silver", "prompt_words_below": 3}, "lane": "best"},
)


@pytest.fixture
def service() -> Service:
    lanes = {name: {"steps": steps} for name, steps in (("draft", 4), ("final", 20), ("best", 50))}
    document = {"service": "tags", "champion": "m@1", "lanes": lanes, "route": ROUTE}
    endpoints = {str(VersionId("m", 1)): (Endpoint(replica="r", url="http://127.0.0.1:9"),)}
    return Service(ServiceRoutes.model_validate({**document, "endpoints": endpoints}), FakeClock())


@pytest.mark.parametrize(
    ("prompt", "headers", "lane"),
    [
        ("a tag", {}, "draft"),
        ("our LOGO please", {}, "final"),
        ("logotype", {}, "draft"),
        ("one two three four five", {}, "final"),
        ("one two three four five six seven eight", {}, "draft"),
        ("a tag", {b"x-roost-tier": b"gold"}, "best"),
        ("a tag", {b"x-roost-tier": b"silver"}, "best"),
        ("a logo tag", {b"x-roost-tier": b"silver"}, "final"),
        ("a small red tag", {b"x-roost-tier": b"silver"}, "draft"),
        ("a logo tag", {b"x-roost-tier": b"gold", b"x-roost-lane": b"draft"}, "draft"),
        (None, {}, "draft"),
        (None, {b"x-roost-tier": b"gold"}, "best"),
        (None, {b"x-roost-tier": b"silver"}, "draft"),
    ],
)
def test_the_first_route_that_matches_decides_unless_a_lane_is_asked_for(
    service: Service, prompt: str | None, headers: dict[bytes, bytes], lane: str
) -> None:
    assert read_lane(service, headers, prompt) == lane


def test_a_lane_that_is_not_declared_is_refused(service: Service) -> None:
    with pytest.raises(InvalidInput, match="fast"):
        read_lane(service, {b"x-roost-lane": b"fast"}, "a tag")

"""Intake: a client's request in OpenAI's shape becomes one picture to draw, or an error that names the field."""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from contracts.errors import InvalidInput, NotFound
from contracts.rng import Rng
from contracts.specs.service import StickyKey
from contracts.wire.routing import RoutingTable, ServiceRoutes
from contracts.wire.worker import GenerateRequest
from serving.gateway.lanes import DEFAULT_LANE, choose_lane

SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")
KNOWN_FIELDS = {"model", "prompt", "n", "size", "user", "seed", "response_format"}


@dataclass(frozen=True, slots=True)
class Intake:
    """A request as accepted: its service, lane and sticky key, and what the worker will be asked."""

    routes: ServiceRoutes
    lane: str
    request_id: str
    sticky_key: str
    generate: GenerateRequest


def read_image_request(body: bytes, headers: dict[str, str], table: RoutingTable | None, rng: Rng) -> Intake:
    """Read ``POST /v1/images/generations``; ``seed`` is our extension and is chosen when absent.

    Raises:
        InvalidInput: naming the field that can't be accepted.
        NotFound: when the model (our service) isn't in the routing table.
    """
    document = _parse(body)
    routes = _find_service(document.get("model"), table)
    prompt = _prompt(document.get("prompt"), routes.limits.max_prompt_chars)
    if document.get("n", 1) != 1:
        raise InvalidInput("n: one picture per request", hint="send n requests")
    if document.get("response_format", "b64_json") != "b64_json":
        raise InvalidInput("response_format: only b64_json is served", hint="pictures are not kept, so there is no url")
    lane = choose_lane(routes, prompt, asked=headers.get("x-roost-lane"), tier=headers.get("x-roost-tier"))
    width, height = _size(document.get("size"), routes.limits.max_pixels)
    settings = routes.lanes.get(lane)
    request_id = "r-" + rng.token(8)
    return Intake(
        routes=routes,
        lane=lane if routes.lanes else DEFAULT_LANE,
        request_id=request_id,
        sticky_key=_sticky_key(routes.sticky, document, headers) or request_id,
        generate=GenerateRequest(
            prompt=prompt,
            seed=_seed(document.get("seed"), rng),
            steps=settings.steps if settings else None,
            guidance=settings.guidance if settings else None,
            width=width,
            height=height,
        ),
    )


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}", hint='send {"model": ..., "prompt": ...}') from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not a JSON object", hint='send {"model": ..., "prompt": ...}')
    unknown = sorted(document.keys() - KNOWN_FIELDS)
    if unknown:
        raise InvalidInput(f"{unknown[0]}: unknown field", hint=f"known fields: {', '.join(sorted(KNOWN_FIELDS))}")
    return document


def _find_service(name: object, table: RoutingTable | None) -> ServiceRoutes:
    services = table.services if table is not None else {}
    if not isinstance(name, str) or name not in services:
        known = ", ".join(services) or "none yet"
        raise NotFound(f"model: no service is called {name!r}", hint=f"services: {known}")
    return services[name]


def _prompt(prompt: object, longest: int) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidInput("prompt: must be text", hint="say what to draw")
    if len(prompt) > longest:
        raise InvalidInput(f"prompt: {len(prompt)} characters, the limit is {longest}", hint="shorten it")
    return prompt


def _size(size: object, max_pixels: int) -> tuple[int | None, int | None]:
    if size is None or size == "auto":
        return None, None
    match = SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise InvalidInput(f"size: {size!r} is not WIDTHxHEIGHT", hint="for example 64x32")
    width, height = int(match[1]), int(match[2])
    if min(width, height) < 8 or width % 8 or height % 8 or width * height > max_pixels:
        raise InvalidInput(f"size: {size} can't be drawn", hint=f"multiples of 8, at most {max_pixels} pixels in all")
    return width, height


def _seed(seed: object, rng: Rng) -> int:
    if seed is None:
        return rng.integer(2**31)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InvalidInput(f"seed: {seed!r} is not a whole number from 0 to 2^63 - 1", hint="leave it out to have one")
    return seed


def _sticky_key(sticky: StickyKey, document: dict[str, Any], headers: dict[str, str]) -> str | None:
    if sticky is StickyKey.USER:
        user = document.get("user") or headers.get("x-roost-user")
        return user if isinstance(user, str) else None
    return headers.get("x-roost-session") if sticky is StickyKey.SESSION else None

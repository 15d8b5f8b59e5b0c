"""OpenAI's images API: reading requests, and answers and errors in its shape."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from contracts.errors import InvalidInput
from contracts.specs.service import Limits
from serving.gateway.dispatch import Answer
from serving.gateway.intake import Headers, Intake, find_service, read_forced_version, read_lane, read_sticky_key
from serving.gateway.pictures import FORMATS, INLINE_BYTES, PNG, PictureFormat, finish_picture, label_png
from serving.gateway.policy import normalise
from serving.gateway.protocols.dialect import Problem
from serving.gateway.provenance import Facts
from serving.gateway.service import Service
from serving.gateway.tokens import Tokens
from serving.gateway.work import PictureWork, Work

LARGEST_BODY_BYTES = 1 << 20
SIZE = re.compile(r"(\d{1,4})x(\d{1,4})")
ONLY_AUTO = ("quality", "style", "background", "moderation")
KNOWN_FIELDS = {
    *("model", "prompt", "n", "size", "user", "safety_identifier", "seed", "response_format"),
    *("output_format", "output_compression", "stream", "partial_images", *ONLY_AUTO),
}
PLAIN_FIELDS = {"model", "prompt", "size", "user", "safety_identifier", "seed"}
"""All that most requests have; who says no more gets one PNG, whole."""
EXAMPLE = 'send {"model": ..., "prompt": ...}'


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What a client asked for beside the picture itself: format, number, and whether they come as events."""

    format: PictureFormat = PNG
    n: int = 1
    stream: bool = False
    partial_images: int = 0


PLAIN = ImageRequest()


def read_image_request(
    body: bytes, headers: Headers, services: dict[str, Service], tokens: Tokens
) -> tuple[Intake, ImageRequest]:
    """Read ``POST /v1/images/generations``; ``seed`` is our extension and is chosen when absent.

    Raises:
        InvalidInput: naming the field that can't be accepted.
        NotFound: when the model (our service) isn't in the routing table.
        NotPermitted: when the client may not force a version.
    """
    document = _parse(body)
    plain = document.keys() <= PLAIN_FIELDS
    if not plain:
        _check_fields(document)
    service = find_service(document.get("model"), services)
    prompt = _prompt(document.get("prompt"), service.max_prompt_chars)
    wanted = PLAIN if plain else _wanted(document, service.routes.limits)
    width, height = _size(document.get("size"), service.max_pixels)
    user = _user(document, headers)
    lane = read_lane(service, headers, prompt)
    chance = tokens.token(12)
    seed = _seed(document.get("seed"), wanted.n, chance[16:])
    slot = service.slots[lane]
    partial_images = wanted.partial_images if wanted.stream else None
    drawn = PictureWork(prompt, seed, slot.steps, slot.guidance, width, height, partial_images)
    request_id = "r-" + chance[:16]
    intake = Intake(
        service=service,
        lane=lane,
        request_id=request_id,
        sticky_key=read_sticky_key(service, headers, user) or request_id,
        works=(drawn,) if plain else _works(drawn, wanted.n),
        prompt=prompt,
        user=user,
        forced=read_forced_version(service, headers),
        repeatable=document.get("seed") is not None,
    )
    return intake, wanted


def _wanted(document: dict[str, Any], limits: Limits) -> ImageRequest:
    n = _whole(document, "n", 1, limits.max_pictures, default=1)
    stream = _flag(document, "stream")
    partial_images = _whole(document, "partial_images", 0, 3, default=0)
    if stream and n > 1:
        raise InvalidInput(f"n: {n} pictures can't be streamed", hint="stream one picture per request")
    if partial_images and not stream:
        raise InvalidInput("partial_images: only with stream", hint="set stream to true")
    return ImageRequest(_format(document), n, stream, partial_images)


def _works(drawn: PictureWork, n: int) -> tuple[Work, ...]:
    """Return the pictures asked for: the same but for their seeds, which follow each other."""
    return (drawn, *(drawn._replace(seed=drawn.seed + index) for index in range(1, n)))


def facts_of(intake: Intake, answer: Answer, index: int, now_s: int) -> Facts:
    """Return what a picture tells of itself."""
    drawn = answer.work
    assert isinstance(drawn, PictureWork)  # noqa: S101 - this protocol asks for nothing else
    return {
        "created_s": now_s,
        "digest": answer.attempt.digest,
        "guidance": drawn.guidance,
        "height": drawn.height,
        "lane": intake.lane,
        "request_id": intake.part_id(index),
        "seed": drawn.seed,
        "service": intake.service.name,
        "steps": drawn.steps,
        "version": answer.attempt.version,
        "width": drawn.width,
    }


def write_plain_picture(intake: Intake, answer: Answer, now_s: int) -> bytes | None:
    """Return the body of a good answer with one PNG, None when it is too large to be labelled at once."""
    if len(answer.attempt.body) > INLINE_BYTES:
        return None
    picture = label_png(answer.attempt.body, facts_of(intake, answer, 0, now_s))
    return b'{"created":%d,"output_format":"png","data":[{"b64_json":"%s"}]}' % (now_s, picture)


async def write_pictures(intake: Intake, answers: list[Answer], wanted: PictureFormat, now_s: int) -> bytes:
    """Return the body of a good answer."""
    data = b""
    for index, answer in enumerate(answers):
        picture = await finish_picture(answer.attempt.body, facts_of(intake, answer, index, now_s), wanted)
        data += b'%s{"b64_json":"%s"}' % (b"," if index else b"", picture)
    return b'{"created":%d,"output_format":"%s","data":[%s]}' % (now_s, wanted.kind.encode(), data)


def seed_line(intake: Intake) -> bytes:
    """Return the header with the seed of the first picture; the others' follow it."""
    work = intake.works[0]
    assert isinstance(work, PictureWork)  # noqa: S101 - this protocol asks for nothing else
    return b"x-roost-seed: %d\r\n" % work.seed


def shape_error(problem: Problem) -> bytes:
    """Return a problem in OpenAI's shape, our code and hint inside."""
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    if problem.status == 429:
        kind = "rate_limit_error"
    field, colon, _ = problem.message.partition(":")
    param = field if colon and field.replace("_", "").isalnum() and field.islower() else None
    code = "content_policy_violation" if problem.code == "policy.denied" else problem.code
    error = {"message": problem.message, "type": kind, "param": param, "code": code, "hint": problem.hint}
    return orjson.dumps({"error": error})


def _parse(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}", hint=EXAMPLE) from None
    if not isinstance(document, dict):
        raise InvalidInput("the body is not a JSON object", hint=EXAMPLE)
    return document


def _check_fields(document: dict[str, Any]) -> None:
    if not document.keys() <= KNOWN_FIELDS:
        unknown = min(document.keys() - KNOWN_FIELDS)
        raise InvalidInput(f"{unknown[:100]}: unknown field", hint=f"known fields: {', '.join(sorted(KNOWN_FIELDS))}")
    for name in ONLY_AUTO:
        if document.get(name) not in ("auto", None):
            raise InvalidInput(f"{name}: only 'auto' is served", hint="the service's lanes set how it draws")
    if document.get("response_format") not in ("b64_json", None):
        raise InvalidInput("response_format: only b64_json is served", hint="pictures are not kept, so there is no url")


def _prompt(prompt: object, longest: int) -> str:
    if not isinstance(prompt, str) or not prompt or prompt.isspace():
        raise InvalidInput("prompt: must be text", hint="say what to draw")
    if len(prompt) > longest:
        raise InvalidInput(f"prompt: {len(prompt)} characters, the limit is {longest}", hint="shorten it")
    normal = normalise(prompt)
    if normal is not prompt and (not normal.strip() or len(normal) > longest):
        raise InvalidInput("prompt: nothing legible in it, or too long once composed", hint="say what to draw")
    return normal


def _whole(document: dict[str, Any], name: str, least: int, most: int, *, default: int) -> int:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInput(f"{name}: {value!r} is not a whole number from {least} to {most}", hint="see the limits")
    return value


def _flag(document: dict[str, Any], name: str) -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name}: {value!r} is neither true nor false", hint="leave it out for false")
    return bool(value)


def _format(document: dict[str, Any]) -> PictureFormat:
    kind = document.get("output_format") or "png"
    if kind not in FORMATS:
        raise InvalidInput(f"output_format: {kind!r} is not served", hint=f"formats: {', '.join(FORMATS)}")
    return PictureFormat(kind, _whole(document, "output_compression", 0, 100, default=90))


def _size(size: object, max_pixels: int) -> tuple[int | None, int | None]:
    if size is None or size == "auto":
        return None, None
    if not isinstance(size, str):
        raise InvalidInput("size: must be text", hint="for example 64x32")
    return _read_size(size, max_pixels)


@lru_cache(maxsize=256)
def _read_size(size: str, max_pixels: int) -> tuple[int, int]:
    match = SIZE.fullmatch(size)
    if match is None:
        raise InvalidInput(f"size: {size[:50]!r} is not WIDTHxHEIGHT", hint="for example 64x32")
    width, height = int(match[1]), int(match[2])
    if min(width, height) < 8 or max(width, height) > 8192 or width % 8 or height % 8 or width * height > max_pixels:
        raise InvalidInput(f"size: {size} can't be drawn", hint=f"multiples of 8, at most {max_pixels} pixels in all")
    return width, height


def _seed(seed: object, n: int, chance: str) -> int:
    if seed is None:
        return int(chance, 16) >> 1
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63 - n + 1:
        raise InvalidInput(f"seed: {seed!r} is not a whole number from 0 to 2^63 - n", hint="leave it out to have one")
    return seed


def _user(document: dict[str, Any], headers: Headers) -> str | None:
    user = document.get("safety_identifier") or document.get("user")
    if user is None:
        header = headers.get(b"x-roost-user")
        return header.decode("latin-1")[:500] if header else None
    if not isinstance(user, str) or len(user) > 500:
        raise InvalidInput("user: must be text of at most 500 characters", hint="send an id of yours")
    return user or None

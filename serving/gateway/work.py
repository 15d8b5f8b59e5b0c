"""Work: what a worker is asked to do, a picture or an inference, as bytes for the wire."""

from collections.abc import Hashable
from functools import lru_cache
from typing import NamedTuple

import orjson


class PictureWork(NamedTuple):
    """One picture to draw: the fields of ``GenerateRequest``, checked at the intake; what is None is the version's."""

    prompt: str
    seed: int
    steps: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    partial_images: int | None = None

    @property
    def path(self) -> str:
        """Return where workers take it."""
        return "/generate"

    def encode(self, time_left_s: float) -> bytes:
        """Return the worker's request; after ``time_left_s`` nobody waits any more."""
        return b'{"prompt":%b,"seed":%d,%b' % (orjson.dumps(self.prompt), self.seed, _settings(self[2:], time_left_s))

    @property
    def question(self) -> Hashable:
        """Return what makes two pictures of one version the same."""
        return self


@lru_cache(maxsize=256)
def _settings(values: tuple[float | None, ...], time_left_s: float) -> bytes:
    """Return the time left, and what is given of a ``PictureWork`` beside prompt and seed: the rest of the object."""
    given = {name: value for name, value in zip(PictureWork._fields[2:], values, strict=True) if value is not None}
    return orjson.dumps({"time_left_s": max(0.001, round(time_left_s, 3)), **given})[1:]


class TensorWork(NamedTuple):
    """One inference: an ``InferRequest`` as JSON; the time left goes in a header."""

    request_json: bytes

    @property
    def path(self) -> str:
        """Return where workers take it."""
        return "/infer"

    def encode(self, time_left_s: float) -> bytes:
        """Return the worker's request."""
        return self.request_json

    @property
    def question(self) -> Hashable:
        """Return what makes two inferences of one version the same."""
        return self.request_json


Work = PictureWork | TensorWork

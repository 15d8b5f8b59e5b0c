"""Work: what a worker is asked to do, a picture or an inference, as bytes for the wire."""

from collections.abc import Hashable
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
        asked: dict[str, object] = {
            "prompt": self.prompt,
            "seed": self.seed,
            "time_left_s": round(time_left_s, 3) if time_left_s > 0.001 else 0.001,
        }
        if self.steps is not None:
            asked["steps"] = self.steps
        if self.guidance is not None:
            asked["guidance"] = self.guidance
        if self.width is not None:
            asked["width"], asked["height"] = self.width, self.height
        if self.partial_images is not None:
            asked["partial_images"] = self.partial_images
        return orjson.dumps(asked)

    @property
    def question(self) -> Hashable:
        """Return what makes two pictures of one version the same."""
        return self


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

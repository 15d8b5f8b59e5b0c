"""The points at which a version is measured: sizes, steps, batches and concurrent requests."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contracts.errors import InvalidInput
from contracts.wire.worker import GenerationDefaults

MOST_POINTS: Final = 256
LARGEST_SIDE: Final = 8192
LARGEST: Final = {"steps": 1000, "batches": 64, "concurrency": 64}


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One point of the grid: pictures of ``height`` × ``width`` pixels, ``batch`` to a request, ``steps`` each.

    ``concurrency`` requests are under way at a time.
    """

    height: int
    width: int
    steps: int
    batch: int = 1
    concurrency: int = 1

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.height}x{self.width} steps {self.steps} batch {self.batch} concurrency {self.concurrency}"


@dataclass(frozen=True)
class Grid:
    """All combinations of sizes (height, width), steps, batches and concurrency.

    Raises:
        InvalidInput: when an axis is empty, a value can't be served, or there are more than 256 points.
    """

    sizes: tuple[tuple[int, int], ...]
    steps: tuple[int, ...]
    batches: tuple[int, ...] = (1, 2, 4, 8)
    concurrency: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        for height, width in self.sizes:
            for side in (height, width):
                if side % 8 or not 8 <= side <= LARGEST_SIDE:
                    raise InvalidInput(
                        f"sizes: {height}x{width} can't be drawn",
                        hint=f"both sides are multiples of 8, from 8 to {LARGEST_SIDE}",
                    )
        for name, most in LARGEST.items():
            for value in getattr(self, name):
                if not 1 <= value <= most:
                    raise InvalidInput(f"{name}: {value} can't be served", hint=f"give numbers from 1 to {most}")
        if not 1 <= len(self.points()) <= MOST_POINTS:
            raise InvalidInput(
                f"grid: {len(self.points())} points can't be measured",
                hint=f"give each axis a value, {MOST_POINTS} points at most",
            )

    def points(self) -> list[Point]:
        """Return the points, the smallest first: memory that a process got it often keeps."""
        found = (
            Point(height, width, steps, batch, concurrency)
            for (height, width), steps, batch, concurrency in itertools.product(
                dict.fromkeys(self.sizes),
                dict.fromkeys(self.steps),
                dict.fromkeys(self.batches),
                dict.fromkeys(self.concurrency),
            )
        )
        return sorted(found, key=lambda point: (point.pixels * point.batch, point))


def default_grid(defaults: GenerationDefaults) -> Grid:
    """Return the grid around a version's own defaults: its size and twice that, its steps and half of them."""
    height, width, steps = defaults.height, defaults.width, defaults.num_inference_steps
    sizes = tuple((h, w) for h, w in ((height, width), (2 * height, 2 * width)) if max(h, w) <= LARGEST_SIDE)
    return Grid(sizes, steps=tuple(sorted({max(1, steps // 2), steps})))


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``32x64,64x128``: height and width of each size.

    Raises:
        InvalidInput: when it is written otherwise.
    """
    sizes = []
    for part in _split(text, "sizes", "32x64,64x128"):
        height, _, width = part.partition("x")
        if not (height.isascii() and height.isdigit() and width.isascii() and width.isdigit()):
            raise InvalidInput(f"sizes: {part!r} is not a size", hint="write HEIGHTxWIDTH: 32x64,64x128")
        sizes.append((int(height[:6]), int(width[:6])))
    return tuple(sizes)


def parse_numbers(text: str, name: str) -> tuple[int, ...]:
    """Read ``1,2,4``.

    Raises:
        InvalidInput: naming the axis, when it is written otherwise.
    """
    parts: Sequence[str] = _split(text, name, "1,2,4")
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) < 7):
            raise InvalidInput(f"{name}: {part!r} is not a number", hint="write whole numbers with commas: 1,2,4")
    return tuple(int(part) for part in parts)


def _split(text: str, name: str, example: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InvalidInput(f"{name}: nothing is given", hint=f"write for example {example}")
    return parts

"""The pairs worth looking at: where the other version lost most, as small pictures."""

import heapq
import io
from typing import Final

from contracts.errors import InvalidInput
from evaluation.scorers.picture import decode
from evaluation.side_by_side.ports import Drawing
from evaluation.side_by_side.result import PairRow, ShownPair

SHOWN: Final = 24
LARGEST_SIDE: Final = 512


class Gallery:
    """Keeps the worst pairs seen so far; memory for two dozen, however many are drawn."""

    def __init__(self, size: int = SHOWN) -> None:
        self._size = size
        self._heap: list[tuple[float, int, ShownPair]] = []
        self._offered = 0

    def offer(self, row: PairRow, pair: tuple[Drawing, Drawing]) -> None:
        """Keep a pair if it is among the worst; of equals the earlier one."""
        self._offered += 1
        difference, measure = row.worst_difference()
        entry = (-difference, -self._offered)
        if len(self._heap) == self._size and entry <= self._heap[0][:2]:
            return
        one, other = (shrink(drawing.image_png) for drawing in pair)
        push = heapq.heappush if len(self._heap) < self._size else heapq.heappushpop
        push(self._heap, (*entry, ShownPair(row, difference, measure, (one, other))))

    def shown(self) -> tuple[ShownPair, ...]:
        """Return the pairs kept, the worst first."""
        return tuple(shown for _, _, shown in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))


def shrink(image_png: bytes | None) -> bytes | None:
    """Return a picture as PNG of at most 512 pixels a side; None when there is none that can be decoded."""
    if image_png is None:
        return None
    try:
        picture = decode(image_png)
    except InvalidInput:
        return None
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    picture.convert("RGB").save(file, format="PNG")
    return file.getvalue()

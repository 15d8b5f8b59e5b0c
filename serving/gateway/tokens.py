"""Tokens: random hexadecimal text for ids and seeds, drawn in blocks because each draw asks the operating system."""

from contracts.rng import Rng

BLOCK_BYTES = 4096


class Tokens:
    """Cuts tokens off a block; no part of it is given twice."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._block, self._at = "", 0

    def token(self, n_bytes: int) -> str:
        """Return ``n_bytes`` random bytes as hexadecimal text."""
        start, end = self._at, self._at + 2 * n_bytes
        if end > len(self._block):
            self._block, start, end = self._rng.token(BLOCK_BYTES), 0, 2 * n_bytes
        self._at = end
        return self._block[start:end]

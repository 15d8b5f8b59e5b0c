"""Tokens: random hexadecimal text for ids and seeds, drawn in blocks because each draw asks the operating system."""

from contracts.rng import Rng

BLOCK_BYTES = 4096


class Tokens:
    """Cuts tokens off a block; no part of it is given twice."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._block, self._at = "", 2 * BLOCK_BYTES

    def token(self, n_bytes: int) -> str:
        """Return ``n_bytes`` random bytes as hexadecimal text."""
        start = self._at
        end = self._at = start + 2 * n_bytes
        if end > 2 * BLOCK_BYTES:
            self._block, self._at = self._rng.token(BLOCK_BYTES), 0
            return self.token(n_bytes)
        return self._block[start:end]

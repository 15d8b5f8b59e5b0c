"""Chance as a thing handed in: secret and unpredictable in service, seeded and repeatable in tests."""

import random
import secrets
from typing import Protocol


class Rng(Protocol):
    """Where ids, salts and image seeds come from."""

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def integer(self, below: int) -> int:
        """Return a whole number in [0, below)."""
        ...

    def token(self, n_bytes: int = 8) -> str:
        """Return ``n_bytes`` random bytes as hexadecimal text."""
        ...


class SystemRng:
    """Unpredictable numbers of the operating system; fit for salts, ids and secrets."""

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        return secrets.SystemRandom().random()

    def integer(self, below: int) -> int:
        """Return a whole number in [0, below)."""
        return secrets.randbelow(below)

    def token(self, n_bytes: int = 8) -> str:
        """Return ``n_bytes`` random bytes as hexadecimal text."""
        return secrets.token_hex(n_bytes)


class SeededRng:
    """The same numbers on every run; for tests and for the demo's traffic, never for secrets."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def uniform(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()

    def integer(self, below: int) -> int:
        """Return a whole number in [0, below)."""
        return self._random.randrange(below)

    def token(self, n_bytes: int = 8) -> str:
        """Return ``n_bytes`` random bytes as hexadecimal text."""
        return self._random.randbytes(n_bytes).hex()

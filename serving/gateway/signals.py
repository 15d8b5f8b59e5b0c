"""What users think: their feedback by request id, and whether they ask the same again at once."""

import hashlib
from typing import Generic, TypeVar

from contracts.clock import Clock

MOST_REMEMBERED = 20_000
AGAIN_WITHIN_S = 60.0

Remembered = tuple[str, str, str, str | None, str | None]
"""Whose answer a request id stands for: service, version, lane, user and prompt. A plain tuple of texts, which the
garbage collector doesn't have to look at again and again."""


Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """The last values by key, at least ``MOST_REMEMBERED`` and at most twice as many.

    In two generations, the older of which is forgotten as a whole: that costs a third of forgetting one by one.
    """

    def __init__(self) -> None:
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}

    def put(self, key: Key, value: Value) -> None:
        """Remember a value."""
        self._young[key] = value
        if len(self._young) >= MOST_REMEMBERED:
            self._old, self._young = self._young, {}

    def get(self, key: Key) -> Value | None:
        """Return a value, None when it is unknown or forgotten."""
        value = self._young.get(key)
        return value if value is not None else self._old.get(key)


class Recall:
    """The last answers of this gateway, in memory only; users and prompts leave it as keyed hashes."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret, self._clock = secret, clock
        self._answers: Memory[str, Remembered] = Memory()
        self._asked: Memory[int, tuple[str, float]] = Memory()

    def key(self, text: str) -> str:
        """Return a keyed hash: the same for the same text, and of no use without the key."""
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=12).hexdigest()

    def remember(self, request_id: str, answer: Remembered) -> None:
        """Keep whose answer a request id stands for; the oldest are forgotten."""
        self._answers.put(request_id, answer)

    def find(self, request_id: str) -> Remembered | None:
        """Return whose answer that was, None when it is unknown or forgotten."""
        return self._answers.get(request_id)

    def note_answer(self, service: str, user: str, prompt: str, version: str) -> str | None:
        """Keep that a user gets this version's answer to a prompt now.

        Returns:
            The version whose answer the same user got to the same prompt within the last minute, if any.
        """
        asked = hash((service, user, prompt))
        now_s = self._clock.monotonic_s()
        before = self._asked.get(asked)
        self._asked.put(asked, (version, now_s))
        return before[0] if before is not None and now_s - before[1] <= AGAIN_WITHIN_S else None

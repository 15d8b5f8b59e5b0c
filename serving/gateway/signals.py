"""What users think: their feedback by request id, and whether they ask the same again at once."""

import hashlib
from collections import OrderedDict

from contracts.clock import Clock

MOST_REMEMBERED = 20_000
AGAIN_WITHIN_S = 60.0

Remembered = tuple[str, str, str, str | None, str | None]
"""Whose answer a request id stands for: service, version, lane, user and prompt. A plain tuple of texts, which the
garbage collector doesn't have to look at again and again."""


class Recall:
    """The last answers of this gateway, in memory only; users and prompts leave it as keyed hashes."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret, self._clock = secret, clock
        self._answers: OrderedDict[str, Remembered] = OrderedDict()
        self._asked: OrderedDict[int, tuple[str, float]] = OrderedDict()

    def key(self, text: str) -> str:
        """Return a keyed hash: the same for the same text, and of no use without the key."""
        return hashlib.blake2b(text.encode(), key=self._secret, digest_size=12).hexdigest()

    def remember(self, request_id: str, answer: Remembered) -> None:
        """Keep whose answer a request id stands for; the oldest are forgotten."""
        self._answers[request_id] = answer
        if len(self._answers) > MOST_REMEMBERED:
            self._answers.popitem(last=False)

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
        before = self._asked.pop(asked, None)
        self._asked[asked] = (version, now_s)
        if len(self._asked) > MOST_REMEMBERED:
            self._asked.popitem(last=False)
        return before[0] if before is not None and now_s - before[1] <= AGAIN_WITHIN_S else None

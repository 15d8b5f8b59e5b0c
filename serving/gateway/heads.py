"""Heads of HTTP messages that were read before: most of a keep-alive connection's are the same, byte for byte."""

from typing import TypeVar

HEAD_END = b"\r\n\r\n"
LONGEST_HEAD_BYTES = 2048
MOST_HEADS = 512

Read = TypeVar("Read")


class Heads(dict[bytes, Read]):
    """What was read from heads, by their bytes: the same bytes mean the same, so they needn't be parsed again."""

    def remember(self, head: bytes, read: Read) -> None:
        """Keep what was read from a head; all are forgotten when there are too many, and soon read again."""
        if len(head) > LONGEST_HEAD_BYTES:
            return
        if len(self) >= MOST_HEADS:
            self.clear()
        self[head] = read

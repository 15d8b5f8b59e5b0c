"""The runtime port: load a version once, draw many pictures."""

from typing import Protocol

from contracts.wire.worker import FailureReason, GenerateRequest


class Runtime(Protocol):
    """What a worker needs of an engine. Not thread-safe: a worker calls it from one thread."""

    def load(self) -> None:
        """Load the version; raises when it can't be served."""
        ...

    def draw(self, request: GenerateRequest) -> bytes:
        """Return one picture as PNG; raises ``DrawFailure`` when it can't."""
        ...


class DrawFailure(Exception):
    """A picture that could not be drawn, and why."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

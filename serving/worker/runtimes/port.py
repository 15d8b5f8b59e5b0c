"""The runtime ports: load a version once, then draw pictures or compute tensors, many times."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from contracts.wire.tensors import InferRequest, ModelMetadata, Tensor
from contracts.wire.worker import FailureReason, GenerateRequest

Picture = Callable[[], bytes]
"""A picture that is drawn; the call encodes it as PNG, in whatever thread has time for that."""

Preview = Callable[[int], bytes | None]
"""The picture of a batch member as far as it is drawn, as PNG; None where a pipeline can't show one."""

AfterStep = Callable[[int, int, Preview], None]
"""Told after each step: how many are done, of how many. Raises ``Stopped`` when nobody waits any more."""


class Runtime(Protocol):
    """What a worker needs of any engine. Not thread-safe: a worker calls it from one thread."""

    def load(self) -> None:
        """Load the version; raises when it can't be served."""
        ...

    def warm_up(self) -> None:
        """Pay the costs of the first request; raises when it can't be answered."""
        ...


@runtime_checkable
class PictureRuntime(Runtime, Protocol):
    """An engine that draws."""

    def draw(self, requests: Sequence[GenerateRequest], after_step: AfterStep) -> list[Picture]:
        """Draw one batch; its members have the same steps, guidance and size. Raises ``DrawFailure`` when it can't."""
        ...


@runtime_checkable
class TensorRuntime(Runtime, Protocol):
    """An engine that computes tensors from tensors."""

    def metadata(self) -> ModelMetadata:
        """Return what the model takes and gives, as far as its files say."""
        ...

    def infer(self, request: InferRequest) -> list[Tensor]:
        """Return the outputs; raises ``DrawFailure`` with ``REFUSED`` when the inputs are not the model's."""
        ...


class DrawFailure(Exception):
    """An answer that could not be given, and why."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Stopped(Exception):
    """Drawing was given up because nobody waits for any picture of the batch."""

"""The bench port: where a version is loaded and draws while it is measured."""

from dataclasses import dataclass
from typing import Protocol

from contracts.errors import Unavailable
from registry.profile.grid import Point


@dataclass(frozen=True, slots=True)
class Loading:
    """One start of a worker.

    ``ready_s`` is from the start of the process until it can serve; ``load_s`` the part in which the version's bytes
    were verified and loaded; ``first_picture_s`` the first picture, which pays what is paid once. ``memory_bytes`` is
    held when it is ready.
    """

    ready_s: float
    load_s: float | None
    first_picture_s: float | None
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Drawing:
    """One request for a batch: how long it took, or that memory ran out in it."""

    latency_s: float
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What the worker has used: peak memory since the last reset, CPU time and energy since its start.

    ``peak_bytes`` is of the memory that limits: the process's resident memory, on a GPU the device's;
    ``host_peak_bytes`` is the process's in either case. ``energy_j`` is None where the device doesn't tell.
    """

    peak_bytes: int
    host_peak_bytes: int
    cpu_s: float
    energy_j: float | None


class WorkerGone(Unavailable):
    """The worker's process ended while it was measured; ``killed`` by SIGKILL, as when memory runs out."""

    def __init__(self, message: str, *, hint: str, killed: bool) -> None:
        super().__init__(message, hint=hint)
        self.killed = killed


class Bench(Protocol):
    """One version on one device, in a process of its own that may die without harm."""

    def start(self, *, cold: bool = False, memory_limit_bytes: int | None = None) -> Loading:
        """Start a fresh worker and wait until it is ready; ``cold`` with its files out of the page cache.

        Raises:
            InvalidInput: when the loaded version holds more than the limit already.
            Unavailable: when it doesn't get ready.
        """
        ...

    def draw(self, point: Point, seed: int) -> Drawing:
        """Ask for one batch; may be called from several threads. ``WorkerGone`` when the process ends."""
        ...

    def reset_peak(self) -> None:
        """Begin peak memory anew from what is held now."""
        ...

    def usage(self) -> Usage:
        """Return what the worker has used."""
        ...

    def stop(self) -> None:
        """End the worker; does nothing when there is none."""
        ...

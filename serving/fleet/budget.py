"""The memory budget of a machine: workers start side by side, but no more than fit."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.units import format_bytes
from contracts.wire.worker import WorkerSpec

USABLE_SHARE = 0.8
INTERPRETER_BYTES = 600 << 20
"""What a worker holds beside its weights: Python, torch and diffusers."""


class MemoryBudget:
    """Hands out a machine's memory to workers by name, and lets only as many start at once as there are cores."""

    def __init__(self, limit_bytes: int | None = None, most_starting: int | None = None) -> None:
        self.limit_bytes = limit_bytes or int(_machine_bytes() * USABLE_SHARE)
        self._held: dict[str, int] = {}
        self._starting = asyncio.Semaphore(most_starting or os.cpu_count() or 1)
        self._changed = asyncio.Condition()

    @property
    def free_bytes(self) -> int:
        """What no worker has been given."""
        return self.limit_bytes - sum(self._held.values())

    @asynccontextmanager
    async def starting(self, name: str, needed_bytes: int, tell: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait for memory and for a turn to start; ``tell`` says what is waited for.

        Raises:
            InvalidInput: when it is more than the budget, so that waiting would be in vain.
        """
        if needed_bytes > self.limit_bytes:
            raise InvalidInput(
                f"it needs {format_bytes(needed_bytes)}, and the fleet may use {format_bytes(self.limit_bytes)} in all",
                hint="give the fleet more memory, or serve a smaller variant",
            )
        self._held.pop(name, None)
        async with self._changed:
            while self.free_bytes < needed_bytes:
                tell(
                    f"waits for memory: {format_bytes(needed_bytes)}, {format_bytes(max(0, self.free_bytes))} are free"
                )
                await self._changed.wait()
            self._held[name] = needed_bytes
        tell("waits for its turn to start")
        async with self._starting:
            yield

    async def settle(self, name: str, held_bytes: int) -> None:
        """Count what a worker really takes from now on; 0 gives all of it back."""
        async with self._changed:
            self._held.pop(name, None)
            if held_bytes:
                self._held[name] = held_bytes
            self._changed.notify_all()


def expect_bytes(spec: WorkerSpec) -> int:
    """Return what a worker will take: its limit, else its profile's peak with its largest batch, else its files.

    The interpreter counts beside the files.
    """
    if spec.device != "cpu":
        return INTERPRETER_BYTES
    if spec.limits.memory_limit_bytes is not None:
        return spec.limits.memory_limit_bytes
    if spec.capacity is not None:
        pixels = spec.defaults.height * spec.defaults.width
        return int(spec.capacity.peak_memory_bytes(pixels, spec.limits.max_batch_size))
    files = (path for path in Path(spec.directory).rglob("*") if path.is_file())
    return INTERPRETER_BYTES + sum(path.stat().st_size for path in files)


def _machine_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

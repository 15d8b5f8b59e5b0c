"""A worker's memory: what it holds, its peak, the limit that the operating system keeps, and what is given back."""

import ctypes
import resource
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.units import format_bytes

STATUS = Path("/proc/self/status")
RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Memory:
    """What a worker holds now and the most it held since the peak was reset, in bytes."""

    held_bytes: int
    peak_bytes: int


def read_memory(device: str) -> Memory:
    """Return resident memory; on a GPU, what torch's allocator has reserved there."""
    if device == "cpu":
        return Memory(_status_bytes("VmRSS"), _status_bytes("VmHWM"))
    import torch

    return Memory(torch.cuda.memory_reserved(device), torch.cuda.max_memory_reserved(device))


def reset_peak(device: str) -> None:
    """Begin the peak anew at what is held now."""
    Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def limit_memory(limit_bytes: int, device: str, *, final: bool) -> None:
    """Hold this process to a limit: on a CPU by the operating system, on a GPU by torch's allocator.

    The operating system counts private writable memory, used or not; so the limit is set to what is counted now and the
    room that is left. Before loading it can be set anew, ``final`` afterwards no more.

    Raises:
        InvalidInput: when the process holds more than that already.
    """
    held_bytes = read_memory(device).held_bytes
    if held_bytes >= limit_bytes:
        raise InvalidInput(
            f"limits.memory_limit_bytes: {format_bytes(limit_bytes)} is less than the loaded version holds, "
            f"{format_bytes(held_bytes)}",
            hint="give the worker more memory, or serve a smaller variant",
        )
    if device != "cpu":
        import torch

        total_bytes = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total_bytes), device)
        return
    limit_growth(limit_bytes - held_bytes, final=final)


def limit_growth(room_bytes: int, *, final: bool) -> None:
    """Let the operating system hold this process to what it has now and so much more; never more than it had before."""
    allowed = _status_bytes("VmData") + room_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        allowed = min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed if final else hard))


def trim() -> None:
    """Give freed memory back to the operating system, where the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


def _status_bytes(name: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"this system does not tell a process's {name}")

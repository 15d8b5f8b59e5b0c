"""When processes began: tells one from a later one of the same number."""

from pathlib import Path


def read_began_ticks(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])

"""The lease: a file that a supervisor renews, so that processes which outlive it don't outlive it for ever."""

import os
import threading
import time
from pathlib import Path

LEASE_S = 900.0
"""Long enough for a person to start the control plane again; users are served meanwhile."""
CHECK_S = 1.0


def renew(lease: Path) -> None:
    """Tell workers and gateway that their supervisor lives."""
    lease.touch()
    now_ns = time.time_ns()
    os.utime(lease, ns=(now_ns, now_ns))


def await_lapse(lease: Path, lapsed: threading.Event, lease_s: float = LEASE_S) -> None:
    """Set ``lapsed`` when the file hasn't changed for ``lease_s``.

    Changes are timed on this process's own monotonic clock: neither a clock that is set nor a machine that slept ends
    a lease.
    """
    seen, seen_s = 0, time.monotonic()
    while time.monotonic() - seen_s < lease_s:
        changed = _changed_ns(lease)
        if changed != seen:
            seen, seen_s = changed, time.monotonic()
        time.sleep(CHECK_S)
    lapsed.set()


def _changed_ns(lease: Path) -> int:
    try:
        return lease.stat().st_mtime_ns
    except OSError:
        return 0

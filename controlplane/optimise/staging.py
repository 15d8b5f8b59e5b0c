"""Where jobs make their versions: folders that vanish with the job, however it ends."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from contracts.errors import InvalidInput

LOCK: Final = "lock"
GATE: Final = "gate.lock"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give an empty directory that is removed at the end; what killed jobs left behind is removed first.

    Raises:
        InvalidInput: when the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / GATE).open("w") as gate:
            # A new directory is not yet locked for a moment; meanwhile nobody may sweep.
            fcntl.flock(gate, fcntl.LOCK_EX)
            _sweep(folder)
            directory = Path(tempfile.mkdtemp(dir=folder))
            lock = _hold(directory)
    except OSError as error:
        raise InvalidInput(f"{folder} can't be used: {error.strerror}", hint="name a folder you may write") from None
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        lock.close()


def _sweep(folder: Path) -> None:
    """Remove directories whose job is gone: the operating system has let go of their locks."""
    for directory in folder.iterdir():
        if directory.is_dir():
            try:
                _hold(directory).close()
            except BlockingIOError:
                continue
            shutil.rmtree(directory, ignore_errors=True)


def _hold(directory: Path) -> IO[str]:
    lock = (directory / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise
    return lock

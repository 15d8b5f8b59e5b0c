"""Inspection of a directory before it is registered, and again before it is handed to a worker.

Files are read as data: nothing is imported, unpacked or unpickled.
"""

import os
import stat
from pathlib import Path
from typing import Any, Final, Protocol

from contracts.errors import InvalidInput, NotPermitted
from registry.safety.findings import BrokenFile, Finding, Limits
from registry.safety.formats import inspect_file
from registry.safety.mlmodel import inspect_mlmodel

DEFAULT_LIMITS: Final = Limits()
DENSE_BELOW_BYTES: Final = 1 << 20
"""File systems keep small files in ways that look sparse; a hole in one deceives nobody."""


class Waivers(Protocol):
    """Where approvers' waivers are kept."""

    def waivers(self, digest: str | None = None) -> list[Any]:
        """Return the waivers of content with this digest."""
        ...


def require_safe(directory: Path, digest: str, waivers: Waivers, limits: Limits = DEFAULT_LIMITS) -> None:
    """Let a directory pass only when every file in it is of a listed format and sound, or its digest was waived.

    Raises:
        InvalidInput: when it holds what nobody can waive: links, traversal, broken, sparse or oversized files.
        NotPermitted: when it holds code or formats that run code, and no approver waived this digest.
    """
    findings = inspect(directory, limits)
    hard = [finding for finding in findings if not finding.waivable]
    if hard:
        raise InvalidInput(_tell(directory, hard), hint="mend or remove these files; nobody can waive this")
    if findings and not waivers.waivers(digest):
        raise NotPermitted(
            _tell(directory, findings),
            hint=f"convert these files, or let an approver say: roost model waive {digest} --reason WHY",
        )


def inspect(directory: Path, limits: Limits = DEFAULT_LIMITS) -> list[Finding]:
    """Return all that the rules refuse in a directory, by path; empty when it may be loaded."""
    paths = sorted(path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    if len(paths) > limits.files:
        return [Finding(".", "size.files", f"holds more than {limits.files} files", waivable=False)]
    findings: list[Finding] = []
    for path in paths:
        shown = path.relative_to(directory).as_posix()
        found = _inspect_plainness(path, shown, limits) or inspect_file(path, shown, limits)
        if found is not None:
            findings.append(found)
        elif path.name.casefold() == "mlmodel":
            findings += _inspect_mlmodel(path, shown, limits)
    total = sum(path.lstat().st_size for path in paths)
    if total > limits.total_bytes:
        findings.append(
            Finding(".", "size.total", f"takes {total} bytes, more than {limits.total_bytes}", waivable=False)
        )
    return findings


def _inspect_plainness(path: Path, shown: str, limits: Limits) -> Finding | None:
    """See that a path is a file, has a name that means one thing everywhere, and is as large as it says."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        return Finding(shown, "file.link", "a link or a special file", waivable=False)
    if any(sign in shown for sign in "\\:\n\r\0") or any(part != part.strip() for part in Path(shown).parts):
        return Finding(shown, "file.name", "a name that means other things elsewhere", waivable=False)
    if status.st_size > limits.file_bytes:
        return Finding(shown, "size.file", f"{status.st_size} bytes, more than {limits.file_bytes}", waivable=False)
    if status.st_size >= DENSE_BELOW_BYTES and _has_holes(path, status.st_size):
        return Finding(shown, "file.sparse", "has holes: it says more bytes than it holds", waivable=False)
    return None


def _has_holes(path: Path, size_bytes: int) -> bool:
    with path.open("rb") as file:
        try:
            return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size_bytes
        except OSError:
            return False


def _inspect_mlmodel(path: Path, shown: str, limits: Limits) -> list[Finding]:
    try:
        return list(inspect_mlmodel(path, shown, limits))
    except BrokenFile as error:
        return [Finding(shown, "mlmodel.broken", str(error), waivable=False)]


def _tell(directory: Path, findings: list[Finding]) -> str:
    shown = "; ".join(str(finding) for finding in findings[:5])
    more = f"; and {len(findings) - 5} more" if len(findings) > 5 else ""
    return f"{directory.name} can't be accepted: {shown}{more}"

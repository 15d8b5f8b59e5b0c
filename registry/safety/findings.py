"""What an inspection finds, and the limits it keeps to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the rules refuse.

    ``path`` is the file, relative to the version's directory; ``rule`` a stable name; ``waivable`` tells whether an
    approver may accept it (code and formats that run code) or nobody can (broken and deceitful files).
    """

    path: str
    rule: str
    message: str
    waivable: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.message} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a version may be, in bytes and files."""

    file_bytes: int = 200 << 30
    total_bytes: int = 1 << 40
    text_bytes: int = 256 << 20
    mlmodel_bytes: int = 1 << 20
    files: int = 20_000
    unpacked_bytes: int = 16 << 30
    packing_ratio: int = 200


class BrokenFile(Exception):
    """A file is not what its name says; the message tells in what way."""


class RefusedContent(Exception):
    """A file is well-formed, and holds what only an approver may let pass; the message tells what."""

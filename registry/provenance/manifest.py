"""A manifest pins every byte of a version: one SHA-256 per file, and one digest over all of them."""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contracts.errors import IntegrityError, InvalidInput

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a version: its SHA-256 (hexadecimal) and size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Manifest:
    """All files of a version by their path relative to its directory, with forward slashes."""

    files: dict[str, FileEntry]

    @property
    def digest(self) -> str:
        """``sha256:`` of the canonical JSON of the manifest: the identity of the version's content."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size_bytes for entry in self.files.values())

    def to_json(self) -> str:
        """Return canonical JSON: sorted paths, no white space."""
        rows = {path: [entry.sha256, entry.size_bytes] for path, entry in self.files.items()}
        return json.dumps(rows, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it isn't a manifest or holds a path that leaves the directory.
        """
        try:
            files = {path: FileEntry(str(sha), int(size)) for path, (sha, size) in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError):
            raise InvalidInput("this is not a manifest", hint="register the version again") from None
        for path in files:
            pure = PurePosixPath(path)
            if pure.is_absolute() or ".." in pure.parts or not pure.parts:
                raise InvalidInput(f"manifest: {path!r} leaves the directory", hint="register the version again")
        return cls(files)


def make_manifest(directory: Path) -> Manifest:
    """Read every file below ``directory``.

    Raises:
        InvalidInput: when it isn't a directory, is empty, or holds a symbolic link or anything but plain files.
    """
    if directory.is_symlink() or not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory", hint="give the folder that holds the model's files")
    files = {}
    for root, folders, names in os.walk(directory):
        for name in sorted(folders + names):
            path = Path(root, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            relative = path.relative_to(directory).as_posix()
            if not stat.S_ISREG(mode):
                raise InvalidInput(
                    f"{relative} is a link or a special file", hint="copy the file itself into the folder"
                )
            files[relative] = FileEntry(hash_file(path), path.stat().st_size)
    if not files:
        raise InvalidInput(f"{directory} holds no files", hint="give the folder that holds the model's files")
    return Manifest(files)


def verify_manifest(directory: Path, manifest: Manifest) -> None:
    """Compare a directory with its manifest, byte for byte.

    Raises:
        IntegrityError: naming the files that were changed, are missing or were added.
    """
    found = make_manifest(directory).files
    differing = {
        "changed": sorted(path for path in found.keys() & manifest.files.keys() if found[path] != manifest.files[path]),
        "missing": sorted(manifest.files.keys() - found.keys()),
        "added": sorted(found.keys() - manifest.files.keys()),
    }
    told = [f"{what}: {', '.join(paths[:5])}" for what, paths in differing.items() if paths]
    if told:
        raise IntegrityError(
            f"{directory.name} differs from what was registered ({'; '.join(told)})",
            hint="register the new content as a new version; versions are immutable",
        )


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

"""A manifest pins every byte of a version: one SHA-256 per file, and one digest over all of them."""

import hashlib
import json
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contracts.errors import IntegrityError, InvalidInput

CHUNK_BYTES = 1 << 20
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
IMMUTABLE = "register the new content as a new version; versions are immutable"


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
    """Hash every file below a directory; nothing is left out, ``.git`` and hidden files neither.

    Raises:
        InvalidInput: when the directory is missing, is empty, or holds anything but plain files and folders with files.
    """
    files, empty = _read_tree(directory)
    if empty:
        raise InvalidInput(f"{empty[0]} is an empty folder", hint="remove it: a version is made of files")
    if not files:
        raise InvalidInput(f"{directory} holds no files", hint="give the folder that holds the model's files")
    return Manifest(files)


def verify_manifest(directory: Path, manifest: Manifest) -> None:
    """Compare a directory with its manifest, byte for byte.

    Raises:
        IntegrityError: naming the files that were changed, are missing or were added (links and empty folders too).
    """
    try:
        found, empty = _read_tree(directory)
    except InvalidInput as error:
        raise IntegrityError(
            f"{directory.name} differs from what was registered (added or missing: {error.message})", hint=IMMUTABLE
        ) from None
    differing = {
        "changed": sorted(path for path in found.keys() & manifest.files.keys() if found[path] != manifest.files[path]),
        "missing": sorted(manifest.files.keys() - found.keys()),
        "added": sorted(found.keys() - manifest.files.keys()) + empty,
    }
    told = [f"{what}: {', '.join(paths[:5])}" for what, paths in differing.items() if paths]
    if told:
        raise IntegrityError(f"{directory.name} differs from what was registered ({'; '.join(told)})", hint=IMMUTABLE)


def _read_tree(directory: Path) -> tuple[dict[str, FileEntry], list[str]]:
    """Hash the files below a directory, and name the folders that hold nothing."""
    if directory.is_symlink() or not directory.is_dir():
        raise InvalidInput(f"{directory} is not a directory", hint="give the folder that holds the model's files")
    files, empty = {}, []
    for root, folders, names in os.walk(directory, onerror=_refuse_unreadable):
        relative_root = Path(root).relative_to(directory)
        if not folders and not names and Path(root) != directory:
            empty.append(f"{relative_root.as_posix()}/")
        for name in sorted(folders + names):
            path, relative = Path(root, name), (relative_root / name).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise InvalidInput(
                    f"{relative} is a link or a special file", hint="copy the file itself into the folder"
                )
            try:
                relative.encode()
                files[relative] = FileEntry(hash_file(path), path.stat().st_size)
            except UnicodeEncodeError:
                raise InvalidInput(f"{relative!a} is not a name in UTF-8", hint="rename the file") from None
            except OSError as error:
                _refuse_unreadable(error)
    return files, sorted(empty)


def _refuse_unreadable(error: OSError) -> None:
    raise InvalidInput(f"{error.filename} can't be read: {error.strerror}", hint="mend its permissions") from None


class ManifestFolder:
    """Where manifests are kept, by digest, so that each vouches for itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, manifest: Manifest) -> Path:
        """Write a manifest and return its path; written whole or not at all."""
        path = self._path(manifest.digest)
        with tempfile.NamedTemporaryFile("w", dir=self._folder, delete=False) as file:
            try:
                file.write(manifest.to_json())
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                Path(file.name).unlink()
                raise
        return Path(file.name).replace(path)

    def read(self, digest: str) -> Manifest:
        """Return the manifest with a digest.

        Raises:
            IntegrityError: when it is missing, or is not what it was.
        """
        path = self._path(digest)
        if not path.is_file():
            raise IntegrityError(f"there is no manifest for {digest}", hint="register the version again")
        try:
            manifest = Manifest.from_json(path.read_text())
        except (InvalidInput, UnicodeDecodeError):
            manifest = Manifest({})
        if manifest.digest != digest:
            raise IntegrityError(f"the manifest of {digest} was changed", hint="register the version again")
        return manifest

    def _path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise IntegrityError(f"{digest!r} is not a digest", hint="register the version again")
        return self._folder / f"{digest.removeprefix('sha256:')}.json"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

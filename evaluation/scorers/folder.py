"""Local folders of weights: what a scorer may load, and the digest of what it loaded."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts.errors import InvalidInput, NotPermitted

CHUNK_BYTES: Final = 1 << 20
PICKLED: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"})


def require_weights(folder: Path, files: Sequence[str] = ("config.json", "model.safetensors")) -> Path:
    """Return the folder when it holds the files that a scorer loads, and no code of its own.

    Raises:
        InvalidInput: when the folder or a file is missing.
        NotPermitted: when the weights are there only as pickles, or the configuration asks for code (``auto_map``).
    """
    if not folder.is_dir():
        raise InvalidInput(f"folder: {folder} is not a folder", hint="name a local folder with the model's files")
    missing = [name for name in files if not (folder / name).is_file()]
    if "model.safetensors" in missing and any(path.suffix in PICKLED for path in folder.iterdir()):
        raise NotPermitted(
            f"folder: {folder.name} holds pickled weights only, which can run code when they are loaded",
            hint="convert them to model.safetensors",
        )
    if missing:
        raise InvalidInput(f"folder: {folder.name} has no {missing[0]}", hint=f"it needs {', '.join(files)}")
    if '"auto_map"' in (folder / "config.json").read_text(encoding="utf-8"):
        raise NotPermitted(f"folder: {folder.name} asks for code of its own (auto_map)", hint="it is never run")
    return folder


def digest_folder(folder: Path, settings: str = "") -> str:
    """Return the SHA-256 over every file of a folder, by name, and the scorer's settings."""
    content = hashlib.sha256(settings.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content.update(f"\0{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                content.update(chunk)
    return f"sha256:{content.hexdigest()}"

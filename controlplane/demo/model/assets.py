"""The shipped weights and their cards: where they lie, and whether they are still what was published."""

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from contracts.errors import IntegrityError

CARD_FILE: Final = "model_card.json"


def find_assets() -> Path:
    """Find the folder of the shipped weights: one directory for each of good, early and distilled."""
    return Path(str(files("controlplane.demo") / "assets"))


def hash_files(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below a directory by its relative path, the card itself left out."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != CARD_FILE)
    return {path.relative_to(directory).as_posix(): _hash(path) for path in paths}


def read_card(directory: Path) -> dict[str, Any]:
    """Read the model card of one shipped directory; IntegrityError when it is missing or no JSON."""
    path = directory / CARD_FILE
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(
            f"{directory.name}/{CARD_FILE} can't be read: {error}", hint="reinstall roost, or train the demo model anew"
        ) from error
    return card


def verify(directory: Path) -> dict[str, Any]:
    """Check a shipped directory against its card and give the card.

    Raises IntegrityError naming the first file that differs, is missing, or has no business there.
    """
    card = read_card(directory)
    expected: dict[str, str] = card["files"]
    found = hash_files(directory)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            reason = "is missing" if name not in found else "differs" if name in expected else "isn't in the card"
            raise IntegrityError(
                f"{directory.name}/{name} {reason}",
                hint="reinstall roost: the demo weights aren't those that were published",
            )
    return card


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

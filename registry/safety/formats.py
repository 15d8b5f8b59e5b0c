"""The formats that may be registered: an allow-list, by name and by content.

Scanners that look for bad pickles miss many; what is not on this list is refused, whatever it holds.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from registry.safety.archives import check_skops
from registry.safety.findings import BrokenFile, Finding, Limits, RefusedContent
from registry.safety.onnx_graph import check_onnx
from registry.safety.safetensors_header import check_safetensors

TEXT_SUFFIXES: Final = frozenset({".txt", ".md", ".yaml", ".yml", ".csv", ".tsv", ".jinja"})
TEXT_NAMES: Final = frozenset({"license", "notice", "readme", "mlmodel"})
ONNX_DATA_SUFFIXES: Final = (".onnx_data", ".onnx.data")
PICKLE_SUFFIXES: Final = frozenset({".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill", ".npy"})
CODE_SUFFIXES: Final = frozenset({".py", ".pyc", ".so", ".sh", ".dll", ".dylib", ".ipynb", ".js"})

Check = Callable[[Path, Limits], None]


def inspect_file(path: Path, shown: str, limits: Limits) -> Finding | None:
    """Return what is wrong with one file, or None; ``shown`` is its path for people."""
    check = _find_check(path)
    if check is None:
        return Finding(shown, *_explain_unlisted(path), waivable=True)
    try:
        check(path, limits)
    except BrokenFile as error:
        return Finding(shown, "format.broken", str(error), waivable=False)
    except RefusedContent as error:
        return Finding(shown, "format.untrusted", str(error), waivable=True)
    return None


def _find_check(path: Path) -> Check | None:
    name, suffix = path.name.casefold(), path.suffix.casefold()
    checks: dict[str, Check] = {
        ".safetensors": lambda path, limits: check_safetensors(path),
        ".onnx": lambda path, limits: check_onnx(path),
        ".json": _check_json,
        ".skops": check_skops,
    }
    if name.startswith("."):
        return None
    if suffix in TEXT_SUFFIXES or name in TEXT_NAMES:
        return _check_text
    if name.endswith(ONNX_DATA_SUFFIXES):
        return _check_onnx_data
    return checks.get(suffix)


def _explain_unlisted(path: Path) -> tuple[str, str]:
    suffix = path.suffix.casefold()
    if suffix in PICKLE_SUFFIXES:
        return "format.pickle", f"{suffix} files can run code when they are loaded; convert it to safetensors or skops"
    if suffix in CODE_SUFFIXES:
        return "format.code", "code is not a model's file"
    return "format.unlisted", "its format is not on the list (safetensors, JSON, text, ONNX, skops)"


def _check_text(path: Path, limits: Limits) -> None:
    content = _read_text(path, limits)
    if "\0" in content:
        raise BrokenFile("holds zero bytes, so it is not text")


def _check_json(path: Path, limits: Limits) -> None:
    try:
        json.loads(_read_text(path, limits))
    except (ValueError, RecursionError) as error:
        raise BrokenFile(f"not JSON: {error}") from None


def _read_text(path: Path, limits: Limits) -> str:
    if path.stat().st_size > limits.text_bytes:
        raise BrokenFile(f"a text of more than {limits.text_bytes} bytes")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BrokenFile("not text in UTF-8") from None


def _check_onnx_data(path: Path, limits: Limits) -> None:
    """External data are raw numbers; they must belong to a model beside them."""
    if not any(other.suffix.casefold() == ".onnx" for other in path.parent.iterdir()):
        raise BrokenFile("data of an ONNX model, without the model beside them")

"""MLflow's ``MLmodel`` files, read as data, to tell what would run if MLflow loaded the folder.

MLflow imports ``loader_module`` from the folder's own ``code/`` even when pickles are forbidden, and takes its list of
trusted types from the folder; so nothing is handed to MLflow before this has read it.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from registry.safety.findings import BrokenFile, Finding, Limits

LOADERS: Final = frozenset({"mlflow.sklearn", "mlflow.onnx"})
FLAVORS: Final = frozenset({"python_function", "sklearn", "onnx"})
CODE_KEYS: Final = ("code", "python_model", "model_code_path", "loader_code", "script")
PATH_KEYS: Final = ("data", "model_path", "pickled_model", "path", "env", "config")
SAFE_SERIALIZATION: Final = frozenset({"skops", "onnx"})


class _PlainLoader(yaml.SafeLoader):
    """Plain YAML: no tags that construct, and no anchors, with which a short file expands to a long one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors are not allowed")
        return super().compose_node(parent, index)


def inspect_mlmodel(path: Path, shown: str, limits: Limits) -> Iterator[Finding]:
    """Yield what an ``MLmodel`` file would run, or reach outside its folder; ``shown`` is its path for people.

    Raises:
        BrokenFile: when it can't be read as a plain YAML mapping with flavours.
    """
    document = _read(path, limits)
    for name, flavor in document["flavors"].items():
        if name not in FLAVORS:
            yield Finding(shown, "mlmodel.flavor", f"flavour {name!r} is not on the list", waivable=True)
        yield from _inspect_flavor(flavor, f"{name}.", shown)


def _read(path: Path, limits: Limits) -> dict[str, Any]:
    if path.stat().st_size > limits.mlmodel_bytes:
        raise BrokenFile(f"an MLmodel file of more than {limits.mlmodel_bytes} bytes")
    try:
        document = yaml.load(path.read_bytes(), Loader=_PlainLoader)  # noqa: S506 - a safe loader, made stricter
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BrokenFile(f"not plain YAML: {str(error).splitlines()[0]}") from None
    flavors = document.get("flavors") if isinstance(document, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(flavor, dict) for flavor in flavors.values()):
        raise BrokenFile("names no flavours")
    return dict(document)


def _inspect_flavor(flavor: dict[Any, Any], prefix: str, shown: str) -> Iterator[Finding]:
    for key in CODE_KEYS:
        if flavor.get(key):
            yield Finding(shown, "mlmodel.code", f"{prefix}{key} runs code of the folder: {flavor[key]}", waivable=True)
    loader = flavor.get("loader_module")
    if loader is not None and loader not in LOADERS:
        yield Finding(shown, "mlmodel.loader", f"{prefix}loader_module {loader!r} is not on the list", waivable=True)
    kind = flavor.get("serialization_format")
    if kind is not None and kind not in SAFE_SERIALIZATION:
        yield Finding(shown, "mlmodel.pickle", f"{prefix}serialization_format {kind!r} runs code", waivable=True)
    yield from _inspect_paths(flavor, prefix, shown)


def _inspect_paths(flavor: dict[Any, Any], prefix: str, shown: str) -> Iterator[Finding]:
    """Paths that MLflow will join to the folder must stay in it; artefacts' ``uri`` is only where they came from."""
    artifacts = flavor.get("artifacts")
    entries = artifacts.values() if isinstance(artifacts, dict) else []
    rows = [flavor, *(entry for entry in entries if isinstance(entry, dict))]
    env = flavor.get("env")
    named = [row.get(key) for row in rows for key in PATH_KEYS] + (list(env.values()) if isinstance(env, dict) else [])
    for text in named:
        pure = PurePosixPath(text) if isinstance(text, str) else PurePosixPath()
        if pure.is_absolute() or ".." in pure.parts:
            yield Finding(shown, "mlmodel.path", f"{prefix} names {text!r}, outside the folder", waivable=False)

"""Databases with their schemas: made once in a process, and copied from then on, as making one takes a test's time."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from controlplane.settings import Settings
from controlplane.store.migrate import open_store
from registry.mlflow_catalogue import MlflowCatalogue


def prepare_store(file: Path) -> str:
    """Write a SQLite store without any rows, and return its address."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_store())
    return f"sqlite:///{file}"


def prepare_catalogue(home: Path) -> MlflowCatalogue:
    """Open the catalogue of a new home."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "mlflow.db").write_bytes(_mlflow())
    return _open_catalogue(home)


@cache
def _store() -> bytes:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "roost.db"
        open_store(f"sqlite:///{file}").close()
        return file.read_bytes()


@cache
def _mlflow() -> bytes:
    with TemporaryDirectory() as folder:
        _open_catalogue(Path(folder))
        return (Path(folder) / "mlflow.db").read_bytes()


def _open_catalogue(home: Path) -> MlflowCatalogue:
    settings = Settings(home)
    return MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)

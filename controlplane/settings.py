"""Where the embedded system keeps what it must not lose."""

import os
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.units import parse_bytes

REGISTRY = "ROOST_REGISTRY"
"""Names the folder of MLflow's store, versions' files and manifests, where it is not the home."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything lives below one folder, ``home``; removing it removes all traces."""

    home: Path = Path(".roost")

    @property
    def database_url(self) -> str:
        """Address of the control plane's database: ``ROOST_DATABASE_URL``, or SQLite in the folder."""
        return os.environ.get("ROOST_DATABASE_URL") or f"sqlite:///{(self.home / 'roost.db').resolve()}"

    @property
    def checkpoints(self) -> Path:
        """The signed heads of the database's records, best on another disk: ``ROOST_CHECKPOINTS``."""
        return Path(os.environ.get("ROOST_CHECKPOINTS") or self.home / "checkpoints.jsonl")

    @property
    def checkpoint_key(self) -> Path:
        """The key that signs them."""
        return self.home / "keys" / "checkpoints"

    @property
    def token_key(self) -> Path:
        """The key of the tokens' hashes."""
        return self.home / "keys" / "tokens"

    @property
    def mlflow_uri(self) -> str:
        """Address of the embedded MLflow store."""
        return f"sqlite:///{(self._registry / 'mlflow.db').resolve()}"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps versions' files."""
        return self._registry / "artifacts"

    @property
    def manifests(self) -> Path:
        """Where we keep what those files were when they were registered."""
        return self._registry / "manifests"

    @property
    def _registry(self) -> Path:
        """Where versions are: ``ROOST_REGISTRY``, a folder that several control planes share, or the home."""
        return Path(os.environ.get(REGISTRY) or self.home)

    @property
    def ledger(self) -> Path:
        """The decision ledger."""
        return self.home / "ledger.jsonl"

    @property
    def history_uri(self) -> str:
        """Address of the history of telemetry, scores and events."""
        return f"sqlite:///{(self.home / 'history.db').resolve()}"

    @property
    def hooks_uri(self) -> str:
        """Address of the calls of hooks."""
        return f"sqlite:///{(self.home / 'hooks.db').resolve()}"

    @property
    def reviews_uri(self) -> str:
        """Address of the store of human reviews."""
        return f"sqlite:///{(self.home / 'review.db').resolve()}"

    @property
    def prompts(self) -> Path:
        """Prompt sets that jobs may name."""
        return self.home / "prompts"

    @property
    def trained(self) -> Path:
        """What jobs trained, a folder each."""
        return self.home / "trained"

    @property
    def gateway_state(self) -> Path:
        """Where the gateway keeps the routing table in force."""
        return self.home / "gateway"

    @property
    def fleet(self) -> Path:
        """Where workers report to their supervisor."""
        return self.home / "fleet"

    @property
    def fleet_memory_bytes(self) -> int | None:
        """What all workers may hold: ``ROOST_FLEET_MEMORY``; None leaves it to the fleet.

        Raises:
            InvalidInput: when that is no size.
        """
        given = os.environ.get("ROOST_FLEET_MEMORY")
        return parse_bytes(given) if given else None

    @property
    def logs(self) -> Path:
        """Logs of gateway and workers."""
        return self.home / "logs"

    @property
    def server_file(self) -> Path:
        """Where the control plane listens, and its process; there while it runs."""
        return self.home / "server.json"

    @property
    def cli_token(self) -> Path:
        """The first admin token, for commands on this machine; its owner alone may read it."""
        return self.home / "keys" / "cli-token"


def make_home(home: Path) -> None:
    """Make a home's folder where there is none, for its owner alone: prompts and pictures of users will lie in it.

    Raises:
        InvalidInput: when it can't be made, or is no folder.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"home: {home} can't be used: {error.strerror}", hint="name a folder you may write"
        ) from None

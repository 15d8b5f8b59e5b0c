"""Where the embedded system keeps what it must not lose."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything lives below one folder, ``home``; removing it removes all traces."""

    home: Path = Path(".roost")

    @property
    def mlflow_uri(self) -> str:
        """Address of the embedded MLflow store."""
        return f"sqlite:///{(self.home / 'mlflow.db').resolve()}"

    @property
    def artifacts(self) -> Path:
        """Where MLflow keeps versions' files."""
        return self.home / "artifacts"

    @property
    def manifests(self) -> Path:
        """Where we keep what those files were when they were registered."""
        return self.home / "manifests"

    @property
    def ledger(self) -> Path:
        """The decision ledger."""
        return self.home / "ledger.jsonl"

    @property
    def gateway_state(self) -> Path:
        """Where the gateway keeps the routing table in force."""
        return self.home / "gateway"

    @property
    def logs(self) -> Path:
        """Logs of gateway and workers."""
        return self.home / "logs"

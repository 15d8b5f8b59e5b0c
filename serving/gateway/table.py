"""The routing table a gateway follows: newer only, and kept on disk, to serve on when the control plane is gone."""

import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from contracts.errors import Conflict
from contracts.wire.routing import RoutingTable


class RoutingState:
    """The table in force, and the file that survives a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.current: RoutingTable | None = _read(path)

    def accept(self, table: RoutingTable) -> None:
        """Take a table: written to disk first, then in force. The same table again is accepted and changes nothing.

        Raises:
            Conflict: when it is older than the one in force.
        """
        if table == self.current:
            return
        if self.current is not None and not table.is_newer_than(self.current):
            raise Conflict(
                f"routing table (fence {table.fence}, revision {table.revision}) is not newer than "
                f"(fence {self.current.fence}, revision {self.current.revision})",
                hint="another leader has written since; read the state again",
            )
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
            file.write(table.model_dump_json())
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self._path)
        self.current = table


def _read(path: Path) -> RoutingTable | None:
    try:
        return RoutingTable.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        # A table of another release or a torn disk: serving nothing until the control plane speaks is the safe answer.
        return None

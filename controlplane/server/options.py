"""How a control plane is started: on which home, and where it listens."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from contracts.errors import Conflict, InvalidInput
from contracts.model import Frozen
from controlplane.server.presence import read_presence
from controlplane.settings import Settings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServerOptions(Frozen):
    """``port`` 0 is any that is free; ``gateway_port`` 0 keeps the one that the home's gateway had.

    ``in_background``: nobody reads its standard output, so the first token is not printed there.
    """

    home: Path
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 0
    in_background: bool = False

    def check_alone(self) -> None:
        """Refuse a second control plane on a home.

        Raises:
            Conflict: naming the address of the one that runs.
        """
        server = read_presence(Settings(self.home).server_file)
        if server:
            raise Conflict(
                f"a control plane of {self.home} runs already: {server['url']}",
                hint=f"roost down --home {self.home} ends it",
            )

    def check_exposure(self) -> None:
        """Refuse an address that other machines reach, unless the home says by which names it may be called there.

        Raises:
            InvalidInput: when ``access.yaml`` names no hosts.
        """
        from controlplane.api.access import FILE, load_access

        if self.host not in LOOPBACK and not load_access(self.home).hosts:
            raise InvalidInput(
                f"host: {self.host} can be reached from other machines, and {self.home / FILE} names no hosts",
                hint=f"write 'hosts: [roost.example]' into {self.home / FILE}, with TLS in front; or stay on 127.0.0.1",
            )

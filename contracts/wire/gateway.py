"""What a gateway process is told at its start."""

from typing import Annotated

from pydantic import Field

from contracts.ids import Name
from contracts.model import Frozen
from contracts.units import ByteSize


class GatewaySpec(Frozen):
    """One gateway: its name, its folder, and what it records beside the telemetry.

    ``control_token`` guards the calls of the control plane. ``access_log`` is the file of JSON lines about requests,
    with the (redacted) prompts only if ``access_log_prompts`` says so. ``traces_to`` is the OTLP endpoint that spans go
    to. ``spool_limit_bytes`` bounds the telemetry kept on disk while nobody fetches it.
    """

    name: Name
    control_token: Annotated[str, Field(min_length=16, repr=False)]
    state_directory: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    access_log: str | None = None
    access_log_prompts: bool = False
    traces_to: Annotated[str, Field(pattern=r"^https?://")] | None = None
    spool_limit_bytes: ByteSize = 256 << 20

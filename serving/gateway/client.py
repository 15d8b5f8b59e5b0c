"""The control plane's side of a gateway: hand it routing tables, fetch its telemetry, count every batch once."""

import httpx
from pydantic import TypeAdapter, ValidationError

from contracts.errors import Conflict, Unavailable
from contracts.wire.counted import Counted, take_new
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryReply

TIMEOUT_S = 5.0
TABLE: TypeAdapter[RoutingTable | None] = TypeAdapter(RoutingTable | None)


class GatewayClient:
    """One gateway over HTTP."""

    def __init__(self, url: str, control_token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"x-roost-control-token": control_token}
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False, transport=transport
        )
        self._counted: Counted = {}

    def push(self, table: RoutingTable) -> None:
        """Put a routing table in force.

        Raises:
            Conflict: when the gateway follows a newer one.
            Unavailable: when it doesn't answer.
        """
        answer = self._call("PUT", "/-/routing", content=table.model_dump_json())
        if answer.status_code == 409:
            raise Conflict(answer.json()["error"]["message"], hint="another leader has written since")
        if answer.status_code != 200:
            raise Unavailable(f"the gateway refused the routing table: {answer.text[:300]}", hint="read its log")

    def table(self) -> RoutingTable | None:
        """Return the routing table that the gateway follows, None while it has none.

        Raises:
            Unavailable: when it doesn't answer.
        """
        answer = self._call("GET", "/-/routing")
        try:
            return TABLE.validate_json(answer.content)
        except ValidationError:
            raise Unavailable(f"the gateway's routing table can't be read: {answer.text[:200]}") from None

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Fetch everything that the gateway keeps; what is counted is acknowledged, and may be forgotten there.

        Raises:
            Unavailable: when it doesn't answer; what it counted is kept there.
        """
        params: dict[str, str | int] = {}
        if counted:
            boot, (batch, sample) = list(counted.items())[-1]
            params = {"boot": boot, "acknowledged": batch, "samples": sample}
        answer = self._call("GET", "/-/telemetry", params=params)
        try:
            return TelemetryReply.model_validate_json(answer.content)
        except ValidationError:
            raise Unavailable(
                f"the gateway's telemetry can't be read: {answer.text[:200]}", hint="see its log"
            ) from None

    def pull(self) -> TelemetryReply:
        """Fetch what the gateway counted since the last pull, each batch once; the next pull acknowledges it.

        Raises:
            Unavailable: as ``fetch``.
        """
        reply, self._counted = take_new(self.fetch(self._counted), self._counted)
        return reply

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, method: str, path: str, **options: object) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise Unavailable(f"the gateway does not answer: {error}", hint="is it running?") from None

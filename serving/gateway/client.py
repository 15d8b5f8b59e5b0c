"""The control plane's side of a gateway: hand it routing tables, fetch its telemetry, count every batch once."""

import httpx
from pydantic import ValidationError

from contracts.errors import Conflict, Unavailable
from contracts.wire.routing import RoutingTable
from contracts.wire.telemetry import TelemetryReply

TIMEOUT_S = 5.0


class GatewayClient:
    """One gateway over HTTP. Remembers which batches and samples it has returned, so that each is returned once.

    What a pull returned is acknowledged by the next one: store it in between.
    """

    def __init__(self, url: str, control_token: str, *, transport: httpx.BaseTransport | None = None) -> None:
        headers = {"x-roost-control-token": control_token}
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False, transport=transport
        )
        self._seen: dict[str, int] = {}
        self._seen_samples: dict[str, int] = {}
        self._boot: str | None = None

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

    def fence(self) -> int:
        """Return the fencing number of the routing table in force, 0 when there is none.

        Raises:
            Unavailable: when the gateway doesn't answer.
        """
        return int(self._call("GET", "/health").json()["fence"] or 0)

    def pull(self) -> TelemetryReply:
        """Fetch what the gateway counted since the last pull; batches seen before are left out.

        Raises:
            Unavailable: when it doesn't answer; what it counted is kept there.
        """
        params: dict[str, str | int] = {}
        if self._boot is not None:
            params["boot"] = self._boot
            params["acknowledged"] = self._seen.get(self._boot, -1)
            params["samples"] = self._seen_samples.get(self._boot, -1)
        answer = self._call("GET", "/-/telemetry", params=params)
        try:
            reply = TelemetryReply.model_validate_json(answer.content)
        except ValidationError:
            raise Unavailable(
                f"the gateway's telemetry can't be read: {answer.text[:200]}", hint="see its log"
            ) from None
        return self._note(reply)

    def _note(self, reply: TelemetryReply) -> TelemetryReply:
        """Return what of a reply wasn't returned before, and note it; only the present boot is still of interest."""
        batches = [batch for batch in reply.batches if batch.sequence > self._seen.get(batch.boot, -1)]
        seen = self._seen_samples.get(reply.boot, -1)
        samples = [sample for sample in reply.samples if sample.number > seen]
        self._boot = reply.boot
        self._seen = {batch.boot: batch.sequence for batch in reply.batches} or self._seen
        self._seen_samples = {reply.boot: samples[-1].number if samples else seen}
        return reply.model_copy(update={"batches": tuple(batches), "samples": tuple(samples)})

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, method: str, path: str, **options: object) -> httpx.Response:
        try:
            return self._client.request(method, path, **options)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise Unavailable(f"the gateway does not answer: {error}", hint="is it running?") from None

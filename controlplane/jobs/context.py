"""What a job's function sees: its worker, through a channel."""

from collections.abc import Callable
from typing import Any, Protocol


class Channel(Protocol):
    """The way to the worker."""

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message that wants no answer."""
        ...

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and return its answer."""
        ...


class Wait(Exception):
    """Raised by a job that goes on later: at a time (seconds since 1970), at a signal, or at the first of both."""

    def __init__(self, *, until_s: float | None = None, signal: str = "") -> None:
        if until_s is None and not signal:
            raise ValueError("a job waits for a time or a signal")
        super().__init__(f"waits until {until_s}, for {signal!r}")
        self.until_s, self.signal = until_s, signal


class JobContext:
    """What a job's function may ask of its worker."""

    def __init__(self, channel: Channel, spec: dict[str, Any]) -> None:
        self._channel = channel
        self.job_id: str = spec["job"]
        self.attempt: int = spec["attempt"]
        self.fence: int = spec["fence"]
        self.home: str = spec["home"]
        self.actor: str = spec["actor"]

    def report(self, progress: float, message: str = "") -> None:
        """Tell how far the job is, in [0, 1], and what it does."""
        self._channel.tell({"kind": "progress", "progress": min(max(progress, 0.0), 1.0), "message": message})

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Return the result of ``function``, which is called only if no attempt recorded this step yet.

        It may be called again when a worker dies between its effect and its record: give the effect an idempotency key
        made of job and step.
        """
        found = self._channel.ask({"kind": "step", "name": name})
        if found["found"]:
            return found["result"]
        return self._channel.ask({"kind": "keep", "name": name, "result": function()})["result"]

    def signal(self, name: str) -> dict[str, Any] | None:
        """Return what the job was told under a name (an approval, say), None when it wasn't yet."""
        document: dict[str, Any] | None = self._channel.ask({"kind": "signal", "name": name})["document"]
        return document

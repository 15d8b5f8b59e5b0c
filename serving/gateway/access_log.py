"""The access log: one JSON line per request, written in the background; no prompt in it unless asked for."""

from pathlib import Path

import orjson

from contracts.redaction import redact
from serving.gateway.dispatch import Answer
from serving.gateway.intake import Intake

MOST_BYTES = 16 << 20
CLIENT_GONE = 499


class AccessLog:
    """Lines that wait to be written. The file is opened for each write, so that it may be rotated at any time."""

    def __init__(self, path: Path, *, prompts: bool) -> None:
        self._path, self._prompts = path, prompts
        self._lines = bytearray()
        self.dropped = 0

    def note(self, intake: Intake, answers: list[Answer], status: int, latency_s: float, at_s: float) -> None:
        """Note a request that was served, or at least tried."""
        first = answers[0]
        line: dict[str, object] = {
            "at": int(at_s * 1e3) / 1e3,
            "request_id": intake.request_id,
            "service": intake.service.name,
            "lane": intake.lane,
            "version": first.attempt.version,
            "replica": first.attempt.replica,
            "status": status,
            "latency_s": int(latency_s * 1e6) / 1e6,
            "queue_s": int(first.attempt.queue_s * 1e6) / 1e6,
            "pictures": len(answers),
            "failure": first.attempt.failure,
            "fell_back_from": first.fell_back_from.version if first.fell_back_from is not None else None,
            "cached": first.cached,
        }
        if self._prompts and intake.prompt is not None:
            line["prompt"] = redact(intake.prompt).text
        self._keep(line)

    def note_gone(self, intake: Intake, at_s: float) -> None:
        """Note a request whose client went away, under the status that servers have made a custom."""
        told = {"request_id": intake.request_id, "service": intake.service.name, "lane": intake.lane}
        self._keep({"at": round(at_s, 3), **told, "status": CLIENT_GONE})

    def note_refusal(self, path: str, status: int, code: str, at_s: float) -> None:
        """Note a request that was refused before any attempt."""
        self._keep({"at": round(at_s, 3), "path": path[:200], "status": status, "code": code})

    def flush(self) -> None:
        """Write what waits; called from a thread."""
        lines, self._lines = self._lines, bytearray()
        if not lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(lines)
        except OSError:
            self.dropped += lines.count(b"\n")

    def _keep(self, line: dict[str, object]) -> None:
        if len(self._lines) >= MOST_BYTES:
            self.dropped += 1
            return
        self._lines += orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)

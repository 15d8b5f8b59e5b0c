"""What users got in one case: counted from the same telemetry that decides."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.ids import VersionId
from contracts.wire.telemetry import TelemetryReply
from controlplane.loop.evidence import Judged


@dataclass
class Served:
    """Answers of the challenger and what was wrong with them, and what its users were spared.

    ``wrong`` says of each wrong picture what it shows. ``slow`` answers came later than an objective allows.
    ``rescued`` requests failed on the challenger and got their picture from the fallback; ``failed`` ones got none.
    """

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    slow: int = 0
    rescued: int = 0
    failed: int = 0

    @property
    def bad(self) -> int:
        """Bad responses that reached a user."""
        return len(self.wrong) + self.slow + self.failed

    def count(self, service: str, challenger: VersionId, reply: TelemetryReply, judged: Sequence[Judged]) -> None:
        """Add one tick."""
        for batch in reply.batches:
            for attempts in batch.attempts:
                if attempts.service == service and attempts.version == challenger and not attempts.mirrored:
                    self.answers += attempts.total - attempts.n_bad
                    # A failed attempt counts as slow for its objective; here it is told apart.
                    self.slow += max(0, max(attempts.slow.values(), default=0) - attempts.n_bad)
            for requests in batch.requests:
                if requests.service == service:
                    self.rescued += requests.fell_back
                    self.failed += requests.bad
        mine = (found for found in judged if found.sample.version == challenger and not found.sample.mirrored)
        self.wrong += [found.score.reason for found in mine if found.score.value == 0]

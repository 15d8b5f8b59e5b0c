"""Fallback: a second chance for the user within a budget, so that retries never become the load."""

from contracts.specs.service import Fallback
from contracts.wire.worker import FailureReason

BURST = 10.0


class RetryBudget:
    """A token bucket filled by requests: each adds ``share`` of a retry, a retry takes one, at most ``BURST`` saved."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._tokens = BURST

    def note_request(self) -> None:
        """Add one request's share of a retry."""
        if self._tokens < BURST:
            self._tokens = min(BURST, self._tokens + self.share)

    def take(self) -> bool:
        """Take one retry if there is one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def deserves_fallback(fallback: Fallback | None, failure: FailureReason | None) -> bool:
    """Tell whether a failed attempt is one that the service's fallback is for; a predicted OOM is one."""
    if fallback is None or failure is None:
        return False
    reason = FailureReason.OOM if failure is FailureReason.OOM_PREDICTED else failure
    return reason.value in {named.value for named in fallback.on}

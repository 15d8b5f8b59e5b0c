"""Which error is which status over HTTP: one table for those who answer, and for those who read the answers."""

from contracts.errors import (
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    NotPermitted,
    RoostError,
    SpecError,
    Unauthenticated,
    Unavailable,
)


class TooManyRequests(Unavailable):
    """More was asked than one actor may ask; ``wait_s`` is when to try again."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message, hint=f"try again in {max(1, round(wait_s))} s")
        self.wait_s = wait_s


class Outdated(Conflict):
    """What the caller has seen is not what is there any more (``If-Match``)."""


STATUSES: tuple[tuple[type[RoostError], int], ...] = (
    (TooManyRequests, 429),
    (Outdated, 412),
    (SpecError, 400),
    (InvalidInput, 400),
    (Unauthenticated, 401),
    (NotPermitted, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 503),
    (IntegrityError, 500),
    (RoostError, 500),
)
"""The first row that an error is one of holds."""
CODES = {kind.code: kind for kind, _ in STATUSES}
PLAIN: dict[int, type[RoostError]] = {
    **{status: kind for kind, status in STATUSES if kind is CODES[kind.code]},
    412: Conflict,
    422: InvalidInput,
    429: Unavailable,
    502: Unavailable,
    504: Unavailable,
}
"""What an answer without a code of ours means, such as a proxy's."""


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def kind_of(code: str, status: int) -> type[RoostError]:
    """Return the error that an answer tells of, by its code, or by its status where the code is none of ours."""
    return CODES.get(code) or PLAIN.get(status, RoostError)

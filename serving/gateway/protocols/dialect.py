"""Dialects: how a protocol says that something is wrong, and the statuses and headers that all share."""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import orjson

from contracts.errors import RoostError
from contracts.wire.worker import FailureReason
from serving.gateway.attempts import Attempt
from serving.gateway.dispatch import Answer
from serving.gateway.intake import Intake

JSON = b"application/json"
UNFIT = re.compile("[^ -~]")
"""What can't be in a header's value."""
REFUSAL_STATUS = {
    "input.invalid": 400,
    "input.too-large": 413,
    "not-found": 404,
    "not-permitted": 403,
    "policy.denied": 400,
    "unavailable": 503,
}
FAILURE_STATUS = {
    FailureReason.OVERLOAD: 503,
    FailureReason.TIMEOUT: 504,
    FailureReason.REFUSED: 400,
}


class Problem(NamedTuple):
    """Something wrong, before it is put in a protocol's shape."""

    status: int
    code: str
    message: str
    hint: str = ""
    retry_after_s: float | None = None


Shape = Callable[[Problem], bytes]
"""Puts a problem in a protocol's own shape."""


def problem_of(error: RoostError) -> Problem:
    """Return what an error of ours is to a client."""
    return Problem(REFUSAL_STATUS.get(error.code, 500), error.code, error.message, error.hint)


def problem_of_attempt(attempt: Attempt) -> Problem:
    """Return what a failed attempt is to a client: 429 when it was turned away in the queue, else by the reason."""
    failure = attempt.failure or FailureReason.ERROR
    status = 429 if attempt.retry_after_s is not None else FAILURE_STATUS.get(failure, 500)
    retry_after_s = attempt.retry_after_s if status == 429 else 1.0 if status in {503, 504} else None
    out_of_memory = failure in {FailureReason.OOM, FailureReason.OOM_PREDICTED}
    hint = "ask for a smaller picture" if out_of_memory else "try again"
    return Problem(status, f"attempt.{failure}", attempt.message, hint, retry_after_s)


def retry_line(problem: Problem) -> bytes:
    """Return the header ``Retry-After`` in whole seconds, where trying again may help."""
    if problem.retry_after_s is None:
        return b""
    return b"retry-after: %d\r\n" % max(1, math.ceil(problem.retry_after_s))


def answer_lines(intake: Intake, answers: list[Answer]) -> bytes:
    """Return the headers that say which version answered, and why that one if another was asked first."""
    first = answers[0]
    versions = first.attempt.version
    told = f"x-roost-request-id: {intake.request_id}\r\nx-roost-lane: {intake.lane}\r\nx-roost-version: "
    if len(answers) == 1 and first.is_plain() and intake.forced is None:
        return f"{told}{versions}\r\n".encode()
    if len(answers) > 1:
        versions = ", ".join(dict.fromkeys(answer.attempt.version for answer in answers))
    told += f"{versions}\r\n"
    failed, rejected, cached = None, "", True
    for answer in answers:
        failed = failed or answer.fell_back_from
        rejected = rejected or answer.rejected
        cached = cached and answer.cached
    if failed is not None:
        told += f"x-roost-fallback: {failed.version} {failed.failure}\r\n"
    if rejected:
        told += f"x-roost-rejected: {UNFIT.sub('?', rejected[:200])}\r\n"
    if cached:
        told += "x-roost-cache: hit\r\n"
    if intake.forced is not None:
        told += "x-roost-forced: true\r\n"
    return told.encode()


def dump(document: object) -> bytes:
    """Return a document as JSON."""
    return orjson.dumps(document)

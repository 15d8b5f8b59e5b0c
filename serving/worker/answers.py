"""How workers read requests and tell failures: one JSON shape, and the status that goes with each reason."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from contracts.wire.worker import FailureReason, WorkerFailure
from serving.worker.runtimes.port import DrawFailure

STATUS = {
    FailureReason.OOM: 507,
    FailureReason.OOM_PREDICTED: 507,
    FailureReason.OVERLOAD: 503,
    FailureReason.TIMEOUT: 504,
    FailureReason.ERROR: 500,
    FailureReason.REFUSED: 422,
    FailureReason.ABANDONED: 499,
}
LARGEST_BODY_BYTES = 64 << 20

Document = TypeVar("Document", bound=BaseModel)


async def read_document(request: Request, kind: type[Document]) -> Document:
    """Return the request's body as a document.

    Raises:
        DrawFailure: with ``REFUSED``, naming the field, when it isn't one, or is larger than any can be.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY_BYTES:
            raise DrawFailure(FailureReason.REFUSED, f"a body of more than {LARGEST_BODY_BYTES} bytes")
    try:
        return kind.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise DrawFailure(FailureReason.REFUSED, f"{where}: {first['msg']}") from None


def answer_failure(reason: FailureReason, message: str, status: int | None = None) -> Response:
    """Return a failure as an answer."""
    body = WorkerFailure(reason=reason, message=message[:500]).model_dump_json()
    return Response(body, status_code=status or STATUS[reason], media_type="application/json")

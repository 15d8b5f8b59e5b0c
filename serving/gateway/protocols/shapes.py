"""Which protocol a path belongs to, and so in what shape its errors are."""

from serving.gateway.protocols import mlflow, oip, openai
from serving.gateway.protocols.dialect import Problem, Shape


def shape_for(path: str) -> Shape:
    """Return the shape of errors on a path: OpenAI's unless the path is another protocol's."""
    if path == "/v2" or path.startswith("/v2/"):
        return oip.shape_error
    if path.endswith("/invocations"):
        return mlflow.shape_error
    return openai.shape_error


def slow_request(path: str) -> bytes:
    """Return the error of a request that was not complete in time."""
    return shape_for(path)(Problem(408, "input.slow", "the request was not complete in time", "send it at once"))

"""The worker's HTTP face: health, and one picture at a time."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.wire.worker import (
    FailureReason,
    GenerateRequest,
    WorkerFailure,
    WorkerHealth,
    WorkerSpec,
    WorkerState,
)
from serving.worker.runtimes.port import DrawFailure, Runtime

STATUS = {
    FailureReason.OOM: 507,
    FailureReason.OOM_PREDICTED: 507,
    FailureReason.OVERLOAD: 503,
    FailureReason.TIMEOUT: 504,
    FailureReason.ERROR: 500,
    FailureReason.REFUSED: 422,
}
LONGEST_QUEUE = 16


class Worker:
    """Serves one version: loads it in the background, draws one picture at a time, refuses what it can't queue."""

    def __init__(self, spec: WorkerSpec, runtime: Runtime) -> None:
        self._spec = spec
        self._runtime = runtime
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runtime")
        self._state = WorkerState.LOADING
        self._message = ""
        self._pictures = 0
        self._queued = 0

    def app(self) -> Starlette:
        """Return the ASGI application."""
        return Starlette(
            routes=[Route("/health", self.health), Route("/generate", self.generate, methods=["POST"])],
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        yield
        loading.cancel()
        self._thread.shutdown(wait=False)

    async def _load(self) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._runtime.load)
        except Exception as error:  # noqa: BLE001 - whatever a model's loading raises is told by health
            self._state, self._message = WorkerState.FAILED, f"{type(error).__name__}: {error}"
        else:
            self._state = WorkerState.READY

    async def health(self, request: Request) -> Response:
        """Answer with the worker's state, version and digest."""
        health = WorkerHealth(
            state=self._state,
            version=self._spec.version,
            digest=self._spec.digest,
            pictures=self._pictures,
            message=self._message,
        )
        return Response(health.model_dump_json(), media_type="application/json")

    async def generate(self, request: Request) -> Response:
        """Draw one picture: PNG bytes, or a failure with its reason."""
        if self._state is not WorkerState.READY:
            return _failure(FailureReason.OVERLOAD, f"the worker is {self._state}")
        if self._queued >= LONGEST_QUEUE:
            return _failure(FailureReason.OVERLOAD, f"{self._queued} pictures are waiting")
        try:
            wanted = GenerateRequest.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            return _failure(FailureReason.REFUSED, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        self._queued += 1
        try:
            picture = await asyncio.get_running_loop().run_in_executor(self._thread, self._runtime.draw, wanted)
        except DrawFailure as failure:
            return _failure(failure.reason, failure.message)
        except Exception as error:  # noqa: BLE001 - a model's fault is an answer that is counted
            return _failure(FailureReason.ERROR, f"{type(error).__name__}: {error}")
        finally:
            self._queued -= 1
        self._pictures += 1
        return Response(picture, media_type="image/png")


def _failure(reason: FailureReason, message: str) -> Response:
    body = WorkerFailure(reason=reason, message=message[:500]).model_dump_json()
    return Response(body, status_code=STATUS[reason], media_type="application/json")

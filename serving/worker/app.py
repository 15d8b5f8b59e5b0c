"""The worker's HTTP face: health, pictures one by one and in batches, tensors."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.errors import RoostError
from contracts.wire.tensors import InferReply, InferRequest
from contracts.wire.worker import FailureReason, WorkerHealth, WorkerSpec, WorkerState
from serving.worker.answers import answer_failure, read_document
from serving.worker.batching import Batcher
from serving.worker.guard import MemoryGuard
from serving.worker.memory import limit_memory, read_memory, reset_peak
from serving.worker.opening import open_version
from serving.worker.pictures import PictureDesk
from serving.worker.runtimes.port import DrawFailure, PictureRuntime, Runtime, TensorRuntime

Opener = Callable[[WorkerSpec], Runtime]
Handler = Callable[[Request], Awaitable[Response]]


class Worker:
    """Serves one version: opens and loads it in the background, and answers once its first picture is drawn."""

    def __init__(self, spec: WorkerSpec, opener: Opener = open_version) -> None:
        self._spec, self._opener = spec, opener
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="runtime")
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._health = WorkerHealth(
            state=WorkerState.LOADING, version=spec.version, digest=spec.digest, device=spec.device
        )
        self._desk: PictureDesk | None = None
        self._batcher: Batcher | None = None
        self._tensors: TensorRuntime | None = None
        self._inferring = 0

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [
            Route("/health", self.health),
            Route("/peak/reset", self.reset_peak, methods=["POST"]),
            Route("/generate", partial(self._answer, self._generate), methods=["POST"]),
            Route("/batch", partial(self._answer, self._batch), methods=["POST"]),
            Route("/infer", partial(self._answer, self._infer), methods=["POST"]),
            Route("/metadata", partial(self._answer, self._metadata)),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={404: _not_there, 405: _not_there})

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        life = asyncio.create_task(self._live())
        yield
        life.cancel()
        for thread in (self._thread, self._encoder):
            thread.shutdown(wait=False, cancel_futures=True)

    async def _live(self) -> None:
        """Get ready, then draw until the end."""
        try:
            runtime = await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare)
        except Exception as error:  # noqa: BLE001 - whatever a model's loading raises is told by health
            message = f"{error.message} ({error.hint})" if isinstance(error, RoostError) and error.hint else str(error)
            kind = "" if isinstance(error, RoostError) else f"{type(error).__name__}: "
            self._note(state=WorkerState.FAILED, message=kind + message[:2000])
            return
        spec = self._spec
        if isinstance(runtime, PictureRuntime):
            self._batcher = Batcher(runtime, MemoryGuard(spec.capacity, spec.limits), spec.limits)
            self._desk = PictureDesk(self._batcher, spec, self._encoder)
        elif isinstance(runtime, TensorRuntime):
            self._tensors = runtime
        self._note(state=WorkerState.READY)
        if self._batcher is not None:
            await self._batcher.run(self._thread)

    def _prepare(self) -> Runtime:
        """Verify, load and warm up within the memory limit; runs in the runtime's thread."""
        limit_bytes, device = self._spec.limits.memory_limit_bytes, self._spec.device
        if limit_bytes is not None and device == "cpu":
            limit_memory(limit_bytes, device, final=False)
        begun_s = time.perf_counter()
        runtime = self._opener(self._spec)
        runtime.load()
        loaded_s = time.perf_counter()
        # Threads can't be started any more when memory is short; this one is there before.
        self._encoder.submit(int).result()
        if limit_bytes is not None:
            limit_memory(limit_bytes, device, final=True)
        runtime.warm_up()
        self._note(load_s=loaded_s - begun_s, warm_up_s=time.perf_counter() - loaded_s)
        return runtime

    def _note(self, **changes: object) -> None:
        self._health = self._health.model_copy(update=changes)

    async def health(self, request: Request) -> Response:
        """Answer with the worker's state, version, digest, work and memory."""
        ready = self._health.state is WorkerState.READY
        # Before a GPU's version is loaded there is no allocator to ask, and asking would load the driver here.
        memory = read_memory(self._spec.device if ready else "cpu")
        told = self._health.model_copy(
            update={
                "pictures": self._desk.pictures if self._desk else 0,
                "in_flight": (self._desk.in_flight if self._desk else 0) + self._inferring,
                "memory_bytes": memory.held_bytes,
                "peak_memory_bytes": memory.peak_bytes,
            }
        )
        return Response(told.model_dump_json(), media_type="application/json")

    async def reset_peak(self, request: Request) -> Response:
        """Begin the peak of memory anew."""
        reset_peak(self._spec.device if self._health.state is WorkerState.READY else "cpu")
        return Response(status_code=204)

    async def _answer(self, handler: Handler, request: Request) -> Response:
        """Answer by a handler once the worker is ready; whatever fails is told in one shape."""
        if self._health.state is not WorkerState.READY:
            return answer_failure(FailureReason.OVERLOAD, f"the worker is {self._health.state}")
        try:
            return await handler(request)
        except DrawFailure as failure:
            return answer_failure(failure.reason, failure.message)
        except ClientDisconnect:
            return answer_failure(FailureReason.ABANDONED, "the client went away")
        except Exception as error:  # noqa: BLE001 - a model's fault is an answer that is counted
            return answer_failure(FailureReason.ERROR, f"{type(error).__name__}: {error}")

    async def _generate(self, request: Request) -> Response:
        return await self._pictures().generate(request)

    async def _batch(self, request: Request) -> Response:
        return await self._pictures().batch(request)

    async def _infer(self, request: Request) -> Response:
        runtime = self._tensor_runtime()
        wanted = await read_document(request, InferRequest)
        if self._inferring >= self._spec.limits.max_queue:
            raise DrawFailure(FailureReason.OVERLOAD, f"{self._inferring} requests are waiting")
        self._inferring += 1
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._thread, runtime.infer, wanted)
        finally:
            self._inferring -= 1
        version = self._spec.version
        reply = InferReply(
            model_name=version.model, model_version=str(version.number), id=wanted.id, outputs=tuple(outputs)
        )
        return Response(reply.model_dump_json(), media_type="application/json")

    async def _metadata(self, request: Request) -> Response:
        return Response(self._tensor_runtime().metadata().model_dump_json(), media_type="application/json")

    def _pictures(self) -> PictureDesk:
        if self._desk is None:
            raise DrawFailure(FailureReason.REFUSED, f"{self._spec.version} draws no pictures; ask /infer")
        return self._desk

    def _tensor_runtime(self) -> TensorRuntime:
        if self._tensors is None:
            raise DrawFailure(FailureReason.REFUSED, f"{self._spec.version} takes no tensors; ask /generate")
        return self._tensors


async def _not_there(request: Request, error: Exception) -> Response:
    message = f"{request.method} {request.url.path} is not asked of a worker"
    return answer_failure(FailureReason.REFUSED, message, status=getattr(error, "status_code", 404))

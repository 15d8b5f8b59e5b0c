"""The worker protocol: how a process that serves one version is started, asked, and watched."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from contracts.ids import VersionId
from contracts.model import Frozen
from contracts.units import ByteSize
from contracts.wire.capacity import CapacityModel, WorkerLimits

Pixels = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class GenerateRequest(Frozen):
    """One picture to draw; what is not given is taken from the version's generation defaults.

    Latents come from ``seed`` alone, so that two versions asked the same draw comparable pictures. After
    ``time_left_s`` nobody waits any more, and the worker stops at its next step. With ``partial_images`` the answer
    is a stream of ``PictureEvent``, one JSON document per line, with so many pictures on the way.
    """

    prompt: Annotated[str, Field(max_length=20_000)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    height: Pixels | None = None
    width: Pixels | None = None
    time_left_s: Annotated[float, Field(gt=0)] | None = None
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None


class BatchRequest(Frozen):
    """Pictures to draw in one batch; all must have the same steps, guidance and size."""

    requests: Annotated[tuple[GenerateRequest, ...], Field(min_length=1, max_length=64)]


class BatchReply(Frozen):
    """The pictures of a batch as PNG, in the order asked, and how long drawing took."""

    pictures: tuple[bytes, ...]
    latency_s: Annotated[float, Field(ge=0)]


class PictureEvent(Frozen):
    """One line of a streamed answer: a step done, a picture on the way, and at the end the picture or the failure."""

    kind: Literal["progress", "partial", "picture", "failure"]
    step: Annotated[int, Field(ge=0)] = 0
    steps: Annotated[int, Field(ge=0)] = 0
    image_png: bytes | None = None
    failure: "WorkerFailure | None" = None


class GenerationDefaults(Frozen):
    """How a version draws when the request doesn't say: not part of a pipeline directory, so kept beside it."""

    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] = 25
    guidance_scale: Annotated[float, Field(ge=0, le=100)] = 7.5
    height: Pixels = 512
    width: Pixels = 512
    torch_dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class FaultDrill(Frozen):
    """Faults that a worker makes on purpose, to drill a rollback or to show one.

    ``memory_headroom_bytes``: the process may grow only by so much after the model is loaded (a real limit of the
    operating system), so large pictures run out of memory. ``leaked_bytes``: every picture leaves so much memory
    behind, so that with a headroom all pictures run out of it in the end. ``stale_prompts_after``: after that many
    pictures every second one is drawn from the prompt before, as a cache with colliding keys would.
    """

    memory_headroom_bytes: ByteSize | None = None
    leaked_bytes: ByteSize | None = None
    stale_prompts_after: Annotated[int, Field(ge=0)] | None = None


class WorkerSpec(Frozen):
    """What a fleet needs to start one worker: the version, its directory, and the limits that it keeps.

    The worker verifies the directory against ``digest`` before it loads anything, and loads it as the directory's
    ``LoadingPlan`` says. ``capacity`` is the version's profile, if it has one: what it says will not fit is refused
    before it is tried.
    """

    version: VersionId
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    directory: str
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    defaults: GenerationDefaults = GenerationDefaults()
    faults: FaultDrill = FaultDrill()
    limits: WorkerLimits = WorkerLimits()
    capacity: CapacityModel | None = None
    threads: Annotated[int, Field(ge=1)] = 1


class WorkerState(StrEnum):
    """How far a worker is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class WorkerHealth(Frozen):
    """A worker's answer to ``GET /health``.

    ``load_s`` and ``warm_up_s`` (the first picture, never counted in any statistics) are told once it is ready.
    ``memory_bytes`` is what the process holds now, ``peak_memory_bytes`` the most since the peak was last reset; both
    are resident memory on a CPU and the allocator's reserved memory beside it on a GPU.
    """

    state: WorkerState
    version: VersionId
    digest: str
    pictures: Annotated[int, Field(ge=0)] = 0
    in_flight: Annotated[int, Field(ge=0)] = 0
    device: str = "cpu"
    load_s: Annotated[float, Field(ge=0)] | None = None
    warm_up_s: Annotated[float, Field(ge=0)] | None = None
    memory_bytes: Annotated[int, Field(ge=0)] = 0
    peak_memory_bytes: Annotated[int, Field(ge=0)] = 0
    message: str = ""


class FailureReason(StrEnum):
    """Why an attempt gave no usable answer; the key under which it is counted."""

    OOM = "oom"
    OOM_PREDICTED = "oom-predicted"
    OVERLOAD = "overload"
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"
    ABANDONED = "abandoned"
    REJECTED = "rejected"


class WorkerFailure(Frozen):
    """A worker's answer when it can't draw: a reason that programs count, and a message for people."""

    reason: FailureReason
    message: str

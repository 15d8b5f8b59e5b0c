"""The worker protocol: how a process that serves one version is started, asked, and watched."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from contracts.ids import Name, VersionId
from contracts.model import Frozen
from contracts.units import ByteSize

Pixels = Annotated[int, Field(ge=8, le=8192, multiple_of=8)]


class GenerateRequest(Frozen):
    """One picture to draw; what is not given is taken from the version's generation defaults.

    Latents come from ``seed`` alone, so that two versions asked the same draw comparable pictures.
    """

    prompt: Annotated[str, Field(max_length=20_000)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    guidance: Annotated[float, Field(ge=0, le=100)] | None = None
    height: Pixels | None = None
    width: Pixels | None = None


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
    operating system), so large pictures run out of memory. ``stale_prompts_after``: after that many pictures every
    second one is drawn from the prompt before, as a cache with colliding keys would.
    """

    memory_headroom_bytes: ByteSize | None = None
    stale_prompts_after: Annotated[int, Field(ge=0)] | None = None


class WorkerSpec(Frozen):
    """What a fleet needs to start one worker: the version, its verified directory, the runtime that loads it."""

    version: VersionId
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    directory: str
    runtime: Literal["diffusers"] = "diffusers"
    defaults: GenerationDefaults = GenerationDefaults()
    faults: FaultDrill = FaultDrill()
    threads: Annotated[int, Field(ge=1)] = 1


class WorkerState(StrEnum):
    """How far a worker is."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class WorkerHealth(Frozen):
    """A worker's answer to ``GET /health``."""

    state: WorkerState
    version: VersionId
    digest: str
    pictures: Annotated[int, Field(ge=0)] = 0
    message: str = ""


class FailureReason(StrEnum):
    """Why an attempt gave no usable answer; the key under which it is counted."""

    OOM = "oom"
    OVERLOAD = "overload"
    TIMEOUT = "timeout"
    ERROR = "error"
    REFUSED = "refused"


class WorkerFailure(Frozen):
    """A worker's answer when it can't draw: a reason that programs count, and a message for people."""

    reason: FailureReason
    message: str


class GatewaySpec(Frozen):
    """What a gateway process is told at its start; ``control_token`` guards the calls of the control plane."""

    name: Name
    control_token: Annotated[str, Field(min_length=16, repr=False)]
    state_directory: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0

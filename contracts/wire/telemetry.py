"""Telemetry: exact counts per tick, in numbered batches, delivered at least once and counted exactly once."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.ids import Name, VersionId
from contracts.model import Frozen

Count = Annotated[int, Field(ge=0)]


class AttemptCounts(Frozen):
    """What one version's replica did in one tick, for one lane: attempts, not requests.

    ``mirrored`` tells copies from live attempts. ``bad`` counts attempts that gave no usable answer, by reason
    (``oom``, ``timeout``, ``error``, ``refused``); ``slow`` counts, per latency objective, answers later than its
    threshold, failed attempts included; ``latency_sum_s`` is over the good ones.
    """

    service: Name
    version: VersionId
    replica: Name
    lane: str
    mirrored: bool = False
    total: Count
    bad: dict[str, Count] = Field(default_factory=dict)
    slow: dict[Name, Count] = Field(default_factory=dict)
    latency_sum_s: Annotated[float, Field(ge=0)] = 0.0

    @property
    def n_bad(self) -> int:
        """Attempts without a usable answer, all reasons together."""
        return sum(self.bad.values())

    @model_validator(mode="after")
    def _bad_at_most_total(self) -> Self:
        if self.n_bad > self.total or any(slow > self.total for slow in self.slow.values()):
            raise ValueError("more bad or slow attempts than attempts")
        return self


class RequestCounts(Frozen):
    """What users of one service got in one tick: logical requests, after retries and fallback."""

    service: Name
    lane: str
    total: Count
    bad: Count = 0
    fell_back: Count = 0

    @model_validator(mode="after")
    def _bad_at_most_total(self) -> Self:
        if self.bad > self.total or self.fell_back > self.total:
            raise ValueError("more bad or fallen-back requests than requests")
        return self


class Exposure(Frozen):
    """How the split assigned the keys first seen in one tick, beside the weight asked; for the sample-ratio test.

    A key is what the service splits by: a request's own id, a user or a session.
    """

    service: Name
    rollout_id: Name
    weight: Annotated[float, Field(ge=0, le=1)]
    champion: Count
    challenger: Count


class TelemetryBatch(Frozen):
    """One tick of one gateway.

    ``boot`` tells restarts of a gateway apart and ``sequence`` grows by one within it, so (gateway, boot, sequence)
    is counted once however often it is delivered.
    """

    schema_version: Literal[1] = 1
    gateway: Name
    boot: Name
    sequence: Count
    start_s: float
    end_s: float
    table_revision: Count
    attempts: tuple[AttemptCounts, ...] = ()
    requests: tuple[RequestCounts, ...] = ()
    exposures: tuple[Exposure, ...] = ()

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError("end_s lies before start_s")
        return self


class TelemetryReply(Frozen):
    """A gateway's answer to a pull: the batches not yet acknowledged, and the outputs sampled since the last pull.

    ``dropped_samples`` counts outputs that were due for scoring and fell out of the bounded queue.
    """

    batches: tuple[TelemetryBatch, ...]
    samples: tuple["SampledOutput", ...] = ()
    dropped_samples: Count = 0


class SampledOutput(Frozen):
    """One answer kept for the scorers: everything needed to judge it, and which version gave it.

    A ``mirrored`` output has the request id, prompt and seed of the live one that it was copied from: they are a pair.
    """

    service: Name
    version: VersionId
    request_id: Name
    lane: str
    prompt: str
    seed: int
    at_s: float
    mirrored: bool = False
    image_png: bytes

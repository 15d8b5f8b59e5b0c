"""Telemetry: exact counts per tick, in numbered batches, delivered at least once and counted exactly once."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from contracts.ids import Name, VersionId
from contracts.model import Frozen
from contracts.sketch import Sketch

Count = Annotated[int, Field(ge=0)]


class AttemptCounts(Frozen):
    """What one version's replica did in one tick, for one lane: attempts, not requests.

    ``mirrored`` tells copies from live attempts, ``forced`` those of clients that asked for the version. ``weight`` is
    the challenger's share under which a split assigned the requests when they arrived, and ``None`` where none did
    (copies, forced ones, second attempts): only what one share assigned may be compared between versions. ``bad``
    counts attempts that gave no usable answer, by reason (``oom``, ``timeout``, ``error``, ``refused``; ``abandoned``:
    the client went away after longer than every threshold); ``slow`` counts,
    per latency objective, answers later than its threshold, failed attempts included. ``latency_sum_s`` and ``latency``
    are over the good ones, from the arrival at the gateway; ``queue`` is how long attempts waited for a slot.
    ``cancelled`` attempts, whose client went away earlier, are in no other count. ``cold`` counts the attempts that
    were the first on their replica.
    """

    service: Name
    version: VersionId
    replica: Name
    lane: str
    mirrored: bool = False
    forced: bool = False
    weight: Annotated[float, Field(ge=0, le=1)] | None = None
    total: Count
    bad: dict[str, Count] = Field(default_factory=dict)
    slow: dict[Name, Count] = Field(default_factory=dict)
    latency_sum_s: Annotated[float, Field(ge=0)] = 0.0
    latency: Sketch = Field(default_factory=dict)
    queue: Sketch = Field(default_factory=dict)
    cancelled: Count = 0
    cold: Count = 0

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
    """What users of one service got in one tick: logical requests, after retries and fallback.

    ``reasons`` splits ``bad``; ``cached`` were answered without an attempt; ``cancelled`` ones, whose client went away,
    are in no other count.
    """

    service: Name
    lane: str
    total: Count
    bad: Count = 0
    fell_back: Count = 0
    reasons: dict[str, Count] = Field(default_factory=dict)
    cached: Count = 0
    cancelled: Count = 0

    @model_validator(mode="after")
    def _bad_at_most_total(self) -> Self:
        if max(self.bad, self.fell_back, self.cached) > self.total:
            raise ValueError("more bad, fallen-back or cached requests than requests")
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


class Refusals(Frozen):
    """Requests of one service that were refused before any attempt, by reason: bad input, a policy, a policy failed."""

    service: Name
    reason: str
    total: Count


class UserSignals(Frozen):
    """What users of one version did next.

    ``answered`` counts the requests of known users, ``asked_again`` those of them whose user asked the same prompt
    again within a minute, as one does who doesn't like the answer.
    """

    service: Name
    version: VersionId
    answered: Count
    asked_again: Count


class Feedback(Frozen):
    """One user's opinion of one answer: ``rating`` from 0 (bad) to 1 (good).

    ``user_key`` and ``prompt_key`` are keyed hashes: equal for the same user or prompt, and telling nothing else.
    """

    service: Name
    version: VersionId
    lane: str
    request_id: Name
    rating: Annotated[float, Field(ge=0, le=1)]
    reason: Annotated[str, Field(max_length=500)] = ""
    at_s: float
    user_key: str | None = None
    prompt_key: str | None = None


class TelemetryBatch(Frozen):
    """One tick of one gateway.

    ``boot`` tells restarts of a gateway apart and ``sequence`` grows within it, so (gateway, boot, sequence) is counted
    once however often it is delivered. While nobody fetches them, batches that were never handed over are merged into
    coarser ones under the later's number: missing numbers are no loss.
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
    refusals: tuple[Refusals, ...] = ()
    signals: tuple[UserSignals, ...] = ()
    feedback: tuple[Feedback, ...] = ()

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        if self.end_s < self.start_s:
            raise ValueError("end_s lies before start_s")
        return self


class TelemetryReply(Frozen):
    """A gateway's answer to a pull: the batches and the sampled outputs not yet acknowledged.

    ``boot`` is the gateway's present one, whose samples these are. ``dropped_samples`` and ``dropped_batches`` count,
    since the boot, what fell out of the bounded queues unfetched.
    """

    boot: Name = "none"
    batches: tuple[TelemetryBatch, ...]
    samples: tuple["SampledOutput", ...] = ()
    dropped_samples: Count = 0
    dropped_batches: Count = 0


class SampledOutput(Frozen):
    """One answer kept for the scorers: everything needed to judge it, and which version gave it.

    A ``mirrored`` output has the request id, prompt and seed of the live one that it was copied from: they are a pair.
    ``number`` grows by one within a boot. ``review`` is why a policy wants a person to see it. What could name a person
    is taken out of ``prompt`` as the service says.
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
    number: Count = 0
    review: str | None = None

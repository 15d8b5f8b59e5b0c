"""Counting: exact numbers of the running tick, cut into numbered batches."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from contracts.clock import Clock
from contracts.ids import VersionId
from contracts.sketch import SMALLEST, bucket_of
from contracts.wire.telemetry import (
    AttemptCounts,
    Exposure,
    Feedback,
    Refusals,
    RequestCounts,
    TelemetryBatch,
    UserSignals,
)
from contracts.wire.worker import FailureReason
from serving.gateway.split import Arms

MOST_KEYS = 200_000
MOST_FEEDBACK = 10_000


class AttemptKey(NamedTuple):
    """What attempts are counted by."""

    service: str
    version: str
    replica: str
    lane: str
    mirrored: bool = False
    forced: bool = False
    weight: float | None = None


Thresholds = tuple[tuple[str, float], ...]
"""Objectives with the latency in seconds beyond which an attempt is slow."""
Place = tuple[str, str, str, str, bool, bool, float | None]
"""The fields of an ``AttemptKey`` as a plain tuple, which is made and found in half the time."""


@dataclass(slots=True)
class AttemptTally:
    """Running counts of one key within the current tick; ``queue`` has those that waited for a replica."""

    total: int = 0
    latency_sum_s: float = 0.0
    bad: dict[str, int] = field(default_factory=dict)
    slow: dict[str, int] = field(default_factory=dict)
    latency: dict[int, int] = field(default_factory=dict)
    queue: dict[int, int] = field(default_factory=dict)
    cancelled: int = 0
    cold: int = 0

    def waits(self) -> dict[int, int]:
        """Return how long attempts waited, as a sketch in which those that didn't are counted, too."""
        at_once = self.total - sum(self.queue.values())
        return self.queue | {SMALLEST: self.queue.get(SMALLEST, 0) + at_once} if at_once else self.queue


@dataclass(slots=True)
class RequestTally:
    """Running counts of what users got within the current tick."""

    total: int = 0
    bad: int = 0
    fell_back: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    cached: int = 0
    cancelled: int = 0


@dataclass(slots=True)
class Tick:
    """Everything counted since the last cut."""

    attempts: dict[Place, AttemptTally] = field(default_factory=dict)
    requests: dict[tuple[str, str], RequestTally] = field(default_factory=dict)
    exposures: dict[tuple[str, str, float], list[int]] = field(default_factory=dict)
    refusals: dict[tuple[str, str], int] = field(default_factory=dict)
    signals: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    feedback: list[Feedback] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing was counted."""
        return not (self.attempts or self.requests or self.exposures or self.refusals or self.signals or self.feedback)


class Counter:
    """All counts of one gateway. One thread (the event loop's) writes and cuts."""

    def __init__(self, gateway: str, boot: str, clock: Clock) -> None:
        self._gateway, self.boot, self._clock = gateway, boot, clock
        self._start_s = clock.now_s()
        self._sequence = 0
        self._seen_keys: dict[str, set[str]] = {}
        self.tick = Tick()

    def count_attempt(
        self,
        place: Place,
        thresholds_s: Thresholds,
        *,
        latency_s: float,
        queue_s: float = 0.0,
        failure: FailureReason | None = None,
        cold: bool = False,
    ) -> None:
        """Count one attempt; a failed one is slow under every threshold, so that failing fast never looks good."""
        tally = self.tick.attempts.get(place) or self._open_tally(place)
        tally.total += 1
        if failure is not None:
            tally.bad[failure] = tally.bad.get(failure, 0) + 1
        else:
            tally.latency_sum_s += latency_s
            bucket, latencies = bucket_of(latency_s), tally.latency
            latencies[bucket] = latencies.get(bucket, 0) + 1
        for name, threshold_s in thresholds_s:
            if failure is not None or latency_s > threshold_s:
                tally.slow[name] = tally.slow.get(name, 0) + 1
        if queue_s:
            bucket = bucket_of(queue_s)
            tally.queue[bucket] = tally.queue.get(bucket, 0) + 1
        if cold:
            tally.cold += 1

    def count_cancelled_attempt(self, place: Place) -> None:
        """Count an attempt whose client went away before anything can be said about the version."""
        tally = self.tick.attempts.get(place) or self._open_tally(place)
        tally.cancelled += 1

    def count_request(
        self, service: str, lane: str, *, failure: FailureReason | None, fell_back: bool = False, cached: bool = False
    ) -> None:
        """Count what one user got, after retries and fallback."""
        tally = self._request_tally(service, lane)
        tally.total += 1
        if fell_back:
            tally.fell_back += 1
        if cached:
            tally.cached += 1
        if failure is not None:
            tally.bad += 1
            tally.reasons[failure] = tally.reasons.get(failure, 0) + 1

    def count_cancelled_request(self, service: str, lane: str) -> None:
        """Count a request whose client went away."""
        self._request_tally(service, lane).cancelled += 1

    def count_refusal(self, service: str, reason: str) -> None:
        """Count a request that was refused before any attempt."""
        self.tick.refusals[service, reason] = self.tick.refusals.get((service, reason), 0) + 1

    def count_exposure(self, service: str, split: Arms, key: str, *, challenger: bool) -> None:
        """Count a key's first assignment in a rollout, beside the weight in force then.

        The key (request, user or session) is the unit of randomisation: a user who comes again was assigned once. After
        ``MOST_KEYS`` keys of a rollout no more are counted; by then the split has been tested enough.
        """
        seen = self._seen_keys.get(split.rollout_id)
        if seen is None:
            seen = self._seen_keys[split.rollout_id] = set()
        if key in seen or len(seen) >= MOST_KEYS:
            return
        seen.add(key)
        arms = self.tick.exposures.setdefault((service, split.rollout_id, split.weight), [0, 0])
        arms[challenger] += 1

    def count_signal(self, service: str, version: str, *, asked_again: bool) -> None:
        """Count an answer to a known user, or that the user asked for the same again."""
        counts = self.tick.signals.get((service, version))
        if counts is None:
            counts = self.tick.signals[service, version] = [0, 0]
        counts[asked_again] += 1

    def keep_feedback(self, feedback: Feedback) -> bool:
        """Keep a user's opinion for the next batch; tell whether there was room."""
        if len(self.tick.feedback) >= MOST_FEEDBACK:
            return False
        self.tick.feedback.append(feedback)
        return True

    def forget_keys_except(self, rollout_ids: set[str]) -> None:
        """Drop what is known of the keys of rollouts that have ended."""
        self._seen_keys = {rollout: keys for rollout, keys in self._seen_keys.items() if rollout in rollout_ids}

    def cut(self, table_revision: int) -> TelemetryBatch:
        """End the tick: what was counted since the last cut becomes the next numbered batch, empty or not."""
        end_s = max(self._start_s, self._clock.now_s())
        batch = TelemetryBatch(
            gateway=self._gateway,
            boot=self.boot,
            sequence=self._sequence,
            start_s=self._start_s,
            end_s=end_s,
            table_revision=table_revision,
            **_tables(self.tick),
        )
        self._sequence += 1
        self._start_s = end_s
        self.tick = Tick()
        return batch

    def _open_tally(self, place: Place) -> AttemptTally:
        tally = self.tick.attempts[place] = AttemptTally()
        return tally

    def _request_tally(self, service: str, lane: str) -> RequestTally:
        tally = self.tick.requests.get((service, lane))
        if tally is None:
            tally = self.tick.requests[service, lane] = RequestTally()
        return tally


def _tables(tick: Tick) -> dict[str, Any]:
    return {
        "attempts": tuple(_attempt_counts(AttemptKey(*place), tally) for place, tally in tick.attempts.items()),
        "requests": tuple(_request_counts(service, lane, tally) for (service, lane), tally in tick.requests.items()),
        "exposures": tuple(
            Exposure(service=service, rollout_id=rollout, weight=weight, champion=arms[0], challenger=arms[1])
            for (service, rollout, weight), arms in tick.exposures.items()
        ),
        "refusals": tuple(
            Refusals(service=service, reason=reason, total=total) for (service, reason), total in tick.refusals.items()
        ),
        "signals": tuple(
            UserSignals(service=service, version=VersionId.parse(version), answered=counts[0], asked_again=counts[1])
            for (service, version), counts in tick.signals.items()
        ),
        "feedback": tuple(tick.feedback),
    }


def _attempt_counts(key: AttemptKey, tally: AttemptTally) -> AttemptCounts:
    return AttemptCounts(
        service=key.service,
        version=VersionId.parse(key.version),
        replica=key.replica,
        lane=key.lane,
        mirrored=key.mirrored,
        forced=key.forced,
        weight=key.weight,
        total=tally.total,
        bad=tally.bad,
        slow=tally.slow,
        latency_sum_s=tally.latency_sum_s,
        latency=tally.latency,
        queue=tally.waits(),
        cancelled=tally.cancelled,
        cold=tally.cold,
    )


def _request_counts(service: str, lane: str, tally: RequestTally) -> RequestCounts:
    return RequestCounts(
        service=service,
        lane=lane,
        total=tally.total,
        bad=tally.bad,
        fell_back=tally.fell_back,
        reasons=tally.reasons,
        cached=tally.cached,
        cancelled=tally.cancelled,
    )

"""Counting: exact numbers per tick, cut into numbered batches that are kept until acknowledged."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.clock import Clock
from contracts.ids import VersionId
from contracts.wire.routing import Split
from contracts.wire.telemetry import (
    AttemptCounts,
    Exposure,
    RequestCounts,
    SampledOutput,
    TelemetryBatch,
    TelemetryReply,
)
from contracts.wire.worker import FailureReason

LONGEST_SAMPLE_QUEUE = 4096
MOST_KEYS = 200_000


@dataclass(frozen=True, slots=True)
class AttemptKey:
    """What attempts are counted by."""

    service: str
    version: VersionId
    replica: str
    lane: str
    mirrored: bool = False


@dataclass(slots=True)
class AttemptTally:
    """Running counts of one key within the current tick."""

    total: int = 0
    latency_sum_s: float = 0.0
    bad: dict[str, int] = field(default_factory=dict)
    slow: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class RequestTally:
    """Running counts of what users got within the current tick."""

    total: int = 0
    bad: int = 0
    fell_back: int = 0


class Counter:
    """All counts of one gateway. One thread (the event loop's) writes and cuts."""

    def __init__(self, gateway: str, boot: str, clock: Clock) -> None:
        self._gateway, self._boot, self._clock = gateway, boot, clock
        self._start_s = clock.now_s()
        self._sequence = 0
        self._attempts: dict[AttemptKey, AttemptTally] = {}
        self._requests: dict[tuple[str, str], RequestTally] = {}
        self._exposures: dict[tuple[str, str, float], list[int]] = {}
        self._seen_keys: dict[str, set[str]] = {}
        self._waiting: deque[TelemetryBatch] = deque()
        self._samples: deque[SampledOutput] = deque()
        self._dropped_samples = 0

    def count_attempt(
        self, key: AttemptKey, latency_s: float, failure: FailureReason | None, thresholds_s: Mapping[str, float]
    ) -> None:
        """Count one attempt; a failed one is slow under every threshold, so that failing fast never looks good."""
        tally = self._attempts.setdefault(key, AttemptTally())
        tally.total += 1
        if failure is not None:
            tally.bad[failure] = tally.bad.get(failure, 0) + 1
        else:
            tally.latency_sum_s += latency_s
        for name, threshold_s in thresholds_s.items():
            if failure is not None or latency_s > threshold_s:
                tally.slow[name] = tally.slow.get(name, 0) + 1

    def count_request(self, service: str, lane: str, *, bad: bool, fell_back: bool) -> None:
        """Count what one user got, after retries and fallback."""
        tally = self._requests.setdefault((service, lane), RequestTally())
        tally.total += 1
        tally.bad += bad
        tally.fell_back += fell_back

    def count_exposure(self, service: str, split: Split, key: str, *, challenger: bool) -> None:
        """Count a key's first assignment in a rollout, beside the weight in force then.

        The key (request, user or session) is the unit of randomisation: a user who comes again was assigned once. After
        ``MOST_KEYS`` keys of a rollout no more are counted; by then the split has been tested enough.
        """
        seen = self._seen_keys.setdefault(split.rollout_id, set())
        if len(seen) >= MOST_KEYS or key in seen:
            return
        seen.add(key)
        arms = self._exposures.setdefault((service, split.rollout_id, split.weight), [0, 0])
        arms[challenger] += 1

    def forget_keys_except(self, rollout_ids: set[str]) -> None:
        """Drop what is known of the keys of rollouts that have ended."""
        self._seen_keys = {rollout: keys for rollout, keys in self._seen_keys.items() if rollout in rollout_ids}

    def keep_sample(self, sample: SampledOutput) -> None:
        """Keep an output for the scorers; when the queue is full the oldest is dropped and counted."""
        self._samples.append(sample)
        if len(self._samples) > LONGEST_SAMPLE_QUEUE:
            self._samples.popleft()
            self._dropped_samples += 1

    def cut(self, table_revision: int) -> None:
        """End the tick: what was counted since the last cut becomes the next numbered batch, empty or not."""
        end_s = max(self._start_s, self._clock.now_s())
        self._waiting.append(
            TelemetryBatch(
                gateway=self._gateway,
                boot=self._boot,
                sequence=self._sequence,
                start_s=self._start_s,
                end_s=end_s,
                table_revision=table_revision,
                attempts=tuple(_attempt_counts(key, tally) for key, tally in self._attempts.items()),
                requests=tuple(
                    RequestCounts(service=service, lane=lane, total=t.total, bad=t.bad, fell_back=t.fell_back)
                    for (service, lane), t in self._requests.items()
                ),
                exposures=tuple(
                    Exposure(service=service, rollout_id=rollout, weight=weight, champion=arms[0], challenger=arms[1])
                    for (service, rollout, weight), arms in self._exposures.items()
                ),
            )
        )
        self._sequence += 1
        self._start_s = end_s
        self._attempts, self._requests, self._exposures = {}, {}, {}

    def reply(self, boot: str | None, acknowledged: int) -> TelemetryReply:
        """Forget the batches that the control plane has stored, and return the rest with the samples so far.

        An acknowledgement of another boot says nothing about this one's batches.
        """
        while boot == self._boot and self._waiting and self._waiting[0].sequence <= acknowledged:
            self._waiting.popleft()
        samples, self._samples = tuple(self._samples), deque()
        dropped, self._dropped_samples = self._dropped_samples, 0
        return TelemetryReply(batches=tuple(self._waiting), samples=samples, dropped_samples=dropped)


def _attempt_counts(key: AttemptKey, tally: AttemptTally) -> AttemptCounts:
    return AttemptCounts(
        service=key.service,
        version=key.version,
        replica=key.replica,
        lane=key.lane,
        mirrored=key.mirrored,
        total=tally.total,
        bad=tally.bad,
        slow=tally.slow,
        latency_sum_s=tally.latency_sum_s,
    )

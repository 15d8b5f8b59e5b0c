"""Counting telemetry exactly once, however often it is handed over."""

from collections.abc import Mapping

from contracts.wire.telemetry import TelemetryReply

Counted = Mapping[str, tuple[int, int]]
"""By a gateway's boot: the numbers of the last batch and the last sample that were counted, -1 for none."""

MOST_ABSENT = 16


def take_new(reply: TelemetryReply, counted: Counted) -> tuple[TelemetryReply, Counted]:
    """Return what of a reply is not counted yet, and what is counted once it is; the present boot stands last.

    A boot that a reply doesn't name is remembered for a while: its source may only be away.
    """
    if not reply.batches and not reply.samples:
        return reply, counted
    batches = [batch for batch in reply.batches if batch.sequence > counted.get(batch.boot, (-1, -1))[0]]
    seen, sampled = counted.get(reply.boot, (-1, -1))
    samples = [sample for sample in reply.samples if sample.number > sampled]
    last: dict[str, int] = {}
    for batch in reply.batches:
        last[batch.boot] = max(last.get(batch.boot, counted.get(batch.boot, (-1, -1))[0]), batch.sequence)
    now = last.pop(reply.boot, seen)
    past = {boot: (number, counted.get(boot, (-1, -1))[1]) for boot, number in last.items()}
    newest = max((sample.number for sample in samples), default=sampled)
    fresh = reply.model_copy(update={"batches": tuple(batches), "samples": tuple(samples)})
    unnamed = [boot for boot in counted if boot not in past and boot != reply.boot][-MOST_ABSENT:]
    return fresh, {**{boot: counted[boot] for boot in unnamed}, **past, reply.boot: (now, newest)}

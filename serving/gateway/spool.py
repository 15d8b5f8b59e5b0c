"""The spool: telemetry and samples that the control plane has not acknowledged, kept across restarts and outages."""

import contextlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from contracts.wire.telemetry import SampledOutput, TelemetryBatch, TelemetryReply
from serving.gateway.merging import merge_batches

MOST_BATCHES = 240
LONGEST_SAMPLE_QUEUE = 4096
LARGEST_SAMPLES_BYTES = 256 << 20


@dataclass(slots=True, eq=False)
class Kept:
    """A batch that waits, the first number it covers, its file once written, and whether it was ever handed over."""

    batch: TelemetryBatch
    first: int
    handed_over: bool = False
    file: Path | None = None
    size_bytes: int = 0


class BatchSpool:
    """Batches in order, each in a file of its own until it is acknowledged. Used from one thread at a time.

    When many wait, neighbours that were never handed over are merged into coarser ones; one that was handed over may
    have been counted already, so it is never merged. What still doesn't fit on disk is dropped, the oldest first.
    A file is named after the numbers it covers, so that a crash while merging counts nothing twice.
    """

    def __init__(self, directory: Path, *, limit_bytes: int) -> None:
        self._directory, self._limit_bytes = directory, limit_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._waiting: deque[Kept] = deque()
        self._obsolete: list[Path] = []
        self.dropped = 0
        self.disk_error = ""
        for file in sorted(directory.glob("*.json")):
            self._adopt(file)
        self._forget_covered()

    def __len__(self) -> int:
        """Batches that wait."""
        return len(self._waiting)

    def append(self, batch: TelemetryBatch) -> None:
        """Keep a batch and bring the folder in line; a disk that fails is told by ``disk_error``, nothing is lost."""
        self._waiting.append(Kept(batch, batch.sequence))
        if len(self._waiting) > MOST_BATCHES:
            self._coarsen()
        while len(self._waiting) > 2 * MOST_BATCHES:
            self._drop_oldest()
        try:
            self._write()
            self.disk_error = ""
        except OSError as error:
            self.disk_error = str(error)

    def acknowledge(self, boot: str | None, sequence: int) -> None:
        """Forget the batch named and all before it; an acknowledgement of an unknown one changes nothing."""
        known = [
            index
            for index, kept in enumerate(self._waiting)
            if kept.batch.boot == boot and kept.batch.sequence <= sequence
        ]
        for _ in range(known[-1] + 1 if known else 0):
            self._forget(self._waiting.popleft())

    def hand_over(self) -> tuple[TelemetryBatch, ...]:
        """Return all batches that wait, oldest first; they stay until they are acknowledged."""
        for kept in self._waiting:
            kept.handed_over = True
        return tuple(kept.batch for kept in self._waiting)

    def _write(self) -> None:
        for kept in self._waiting:
            if kept.file is None:
                batch = kept.batch
                content = batch.model_dump_json(exclude_defaults=True).encode()
                name = f"{batch.start_s:017.6f}_{batch.boot}_{kept.first:010d}_{batch.sequence:010d}.json"
                beside = self._directory / (name + ".tmp")
                beside.write_bytes(content)
                beside.replace(self._directory / name)
                kept.file, kept.size_bytes = self._directory / name, len(content)
        while self._waiting and sum(kept.size_bytes for kept in self._waiting) > self._limit_bytes:
            self._drop_oldest()
        while self._obsolete:
            self._obsolete[-1].unlink(missing_ok=True)
            self._obsolete.pop()

    def _coarsen(self) -> None:
        """Merge each two neighbours of the older half."""
        older = [self._waiting.popleft() for _ in range(len(self._waiting) // 2)]
        merged: list[Kept] = []
        while older:
            first = older.pop(0)
            if older and _may_merge(first, older[0]):
                second = older.pop(0)
                self._forget(first)
                self._forget(second)
                first = Kept(merge_batches(first.batch, second.batch), first.first)
            merged.append(first)
        self._waiting.extendleft(reversed(merged))

    def _drop_oldest(self) -> None:
        self._forget(self._waiting.popleft())
        self.dropped += 1

    def _forget(self, kept: Kept) -> None:
        if kept.file is not None:
            self._obsolete.append(kept.file)

    def _adopt(self, file: Path) -> None:
        """Take over what a former process left: perhaps handed over already, so never merged."""
        try:
            content = file.read_bytes()
            batch = TelemetryBatch.model_validate_json(content)
            first = int(file.stem.split("_")[-2])
        except (OSError, ValueError, IndexError):
            # A torn disk or another release: set aside for a person, not in anybody's way.
            with contextlib.suppress(OSError):
                file.rename(file.with_suffix(".unreadable"))
            return
        self._waiting.append(Kept(batch, first, handed_over=True, file=file, size_bytes=len(content)))

    def _forget_covered(self) -> None:
        """Forget adopted batches that a coarser one, written just before a crash, covers."""
        covered = [kept for kept in self._waiting if any(_covers(other, kept) for other in self._waiting)]
        for kept in covered:
            self._waiting.remove(kept)
            self._forget(kept)


class SampleQueue:
    """Sampled outputs in memory until they are acknowledged; the oldest fall out first and are counted."""

    def __init__(self) -> None:
        self._waiting: deque[SampledOutput] = deque()
        self._size_bytes = self._next = 0
        self.dropped = 0

    def append(self, sample: SampledOutput) -> None:
        """Keep a sample under the next number."""
        self._waiting.append(sample.model_copy(update={"number": self._next}))
        self._next += 1
        self._size_bytes += len(sample.image_png)
        while len(self._waiting) > LONGEST_SAMPLE_QUEUE or self._size_bytes > LARGEST_SAMPLES_BYTES:
            self._size_bytes -= len(self._waiting.popleft().image_png)
            self.dropped += 1

    def acknowledge(self, number: int) -> None:
        """Forget the sample of that number and all before it."""
        while self._waiting and self._waiting[0].number <= number:
            self._size_bytes -= len(self._waiting.popleft().image_png)

    def hand_over(self) -> tuple[SampledOutput, ...]:
        """Return all that wait, oldest first."""
        return tuple(self._waiting)


def reply(boot: str, batches: BatchSpool, samples: SampleQueue) -> TelemetryReply:
    """Return what a pull is answered with."""
    return TelemetryReply(
        boot=boot,
        batches=batches.hand_over(),
        samples=samples.hand_over(),
        dropped_samples=samples.dropped,
        dropped_batches=batches.dropped,
    )


def _may_merge(first: Kept, second: Kept) -> bool:
    return not first.handed_over and not second.handed_over and first.batch.boot == second.batch.boot


def _covers(wide: Kept, narrow: Kept) -> bool:
    return (
        wide is not narrow
        and wide.batch.boot == narrow.batch.boot
        and wide.first <= narrow.first
        and narrow.batch.sequence <= wide.batch.sequence
    )

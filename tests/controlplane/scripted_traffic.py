"""Scripted users of a service, as a gateway counts them: what is not acknowledged is handed over again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contracts.clock import FakeClock
from contracts.errors import Conflict, Unavailable
from contracts.ids import VersionId
from contracts.rng import SeededRng
from contracts.wire.counted import Counted
from contracts.wire.routing import RoutingTable, Split
from contracts.wire.telemetry import (
    AttemptCounts,
    Exposure,
    RequestCounts,
    SampledOutput,
    TelemetryBatch,
    TelemetryReply,
)
from evaluation.scorers.port import Score


class SeenText:
    """A scorer that reads its score from the prompt, so that traffic decides what is seen."""

    name = "seen-text"
    digest = "sha256:0"

    def score(self, samples: Sequence[SampledOutput]) -> list[Score]:
        return [Score(None, "scripted") if s.prompt == "?" else Score(float(s.prompt)) for s in samples]


class FakeTraffic:
    """A data plane whose users ask ``rate`` times a second; each version fails and draws wrongly at its own rates."""

    def __init__(self, clock: FakeClock, rate: int = 40) -> None:
        self._clock, self._rng, self.rate = clock, SeededRng(11), rate
        self.bad: dict[int, float] = {}
        self.wrong: dict[int, float] = {}
        self.spoils: dict[int, float] = {}
        """How often each is wrong once the challenger has had all the traffic for three ticks."""
        self.away = False
        self.unscored = False
        self.table: RoutingTable | None = None
        self.weights: list[float] = []
        self._sequence = self._samples_made = 0
        self._kept: list[TelemetryBatch] = []
        self._kept_samples: list[SampledOutput] = []
        self._cut_s = clock.now_s()
        self.served: list[tuple[float, int]] = []
        """When each batch ended, and its attempts."""

    def push(self, table: RoutingTable) -> None:
        if self.away:
            raise Unavailable("the gateway does not answer")
        if not table.is_newer_than(self.table):
            raise Conflict("another leader has written since")
        self.table = table

    def fetch(self, counted: Counted) -> TelemetryReply:
        """Hand over what was not acknowledged, and what was served since the last time."""
        if self.away:
            raise Unavailable("the gateway does not answer")
        last, sample = counted.get("b", (-1, -1))
        self._kept = [one for one in self._kept if one.sequence > last]
        self._kept_samples = [one for one in self._kept_samples if one.number > sample]
        self._serve()
        return TelemetryReply(boot="b", batches=tuple(self._kept), samples=tuple(self._kept_samples))

    def _serve(self) -> None:
        start_s, self._cut_s = self._cut_s, self._clock.now_s()
        routes = self.table.services.get("tags") if self.table else None
        if routes is None or routes.closed:
            return
        split = routes.split
        weight = split.weight if split is not None else 0.0
        self.weights.append(weight)
        if self.weights[-3:] == [1.0] * 3:
            self.wrong |= self.spoils
        total = round(self.rate * (self._cut_s - start_s))
        on_challenger = sum(self._rng.uniform() < weight for _ in range(total))
        arms = [(routes.champion, total - on_challenger)]
        if split is not None:
            arms.append((split.challenger, on_challenger))
        rows = [self._attempts(version, n) for version, n in arms if n]
        batch = TelemetryBatch(
            gateway="g",
            boot="b",
            sequence=self._sequence,
            start_s=start_s,
            end_s=self._cut_s,
            table_revision=self.table.revision if self.table is not None else 0,
            attempts=tuple(rows),
            requests=(RequestCounts(service="tags", lane="default", total=total),),
            exposures=_exposures(split, total - on_challenger, on_challenger),
        )
        self._sequence += 1
        samples = [sample for row in rows for sample in self._samples(row)]
        copies = self._copies(split, samples) if split is not None and split.mirror_share else []
        self._kept.append(batch)
        self.served.append((batch.end_s, sum(row.total for row in rows)))
        for one in (*samples, *copies):
            self._kept_samples.append(one.model_copy(update={"number": self._samples_made}))
            self._samples_made += 1

    def _copies(self, split: Split, samples: list[SampledOutput]) -> list[SampledOutput]:
        copied = [s for s in samples if s.version != split.challenger and self._rng.uniform() < split.mirror_share]
        return [
            sample.model_copy(
                update={
                    "version": split.challenger,
                    "mirrored": True,
                    "prompt": "0" if self._rng.uniform() < self.wrong.get(split.challenger.number, 0.0) else "1",
                }
            )
            for sample in copied
        ]

    def _attempts(self, version: VersionId, total: int) -> AttemptCounts:
        bad = sum(self._rng.uniform() < self.bad.get(version.number, 0.0) for _ in range(total))
        return AttemptCounts(
            service="tags", version=version, replica="a", lane="default", total=total, bad={"error": bad} if bad else {}
        )

    def _samples(self, row: AttemptCounts) -> Iterator[SampledOutput]:
        for index in range(row.total - row.n_bad):
            wrong = self._rng.uniform() < self.wrong.get(row.version.number, 0.0)
            yield SampledOutput(
                service="tags",
                version=row.version,
                request_id=f"r{self._sequence}-{row.version.number}-{index}",
                lane="default",
                prompt="?" if self.unscored else "0" if wrong else "1",
                seed=0,
                at_s=self._clock.now_s(),
                image_png=b"",
            )


def _exposures(split: Split | None, champion: int, challenger: int) -> tuple[Exposure, ...]:
    if split is None or not split.weight:
        return ()
    known = {"service": "tags", "rollout_id": split.rollout_id, "weight": split.weight}
    return (Exposure.model_validate({**known, "champion": champion, "challenger": challenger}),)


@dataclass
class Gateways:
    """The data plane's port over scripted traffic."""

    traffic: FakeTraffic

    def push(self, table: RoutingTable) -> None:
        self.traffic.push(table)

    def table(self) -> RoutingTable | None:
        if self.traffic.away:
            raise Unavailable("the gateway does not answer")
        return self.traffic.table

    def fetch(self, counted: Counted) -> TelemetryReply:
        return self.traffic.fetch(counted)

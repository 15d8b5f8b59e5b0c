"""Writes rollouts into a home's ledger with the real machine, in whatever time is asked for."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from contracts.specs.loading import load_service_spec
from contracts.specs.service import ServiceSpec
from controlplane.loop.evidence import sliced_lanes
from controlplane.loop.record import decision_document
from controlplane.settings import Settings
from controlplane.store.ledger import FileLedger, Ledger
from rollout.evidence.counts import Tally
from rollout.evidence.two_arm import ArmsTick
from rollout.machine import decide, start
from rollout.observation import Exposure, Observation, ScoresTick
from rollout.phases import ENDED, ManualAction, ManualKind, Phase
from rollout.policy import compile_policy

BEGAN_S = 1_795_000_000.0


def load_spec() -> ServiceSpec:
    """Return the spec of the service whose rollouts are written."""
    return load_service_spec(Path(__file__).with_name("service.yaml").read_text(encoding="utf-8"))


@dataclass
class Writer:
    """Writes rollouts into a home's ledger with the real machine, a tick per call, in any time."""

    home: Path
    number: int = 2
    rate: int = 12
    bad: float = 0.0
    score: float = 1.0
    at_s: float = BEGAN_S
    ledger: Ledger | None = None
    rng: Random = field(default_factory=lambda: Random(4))

    def __post_init__(self) -> None:
        spec = load_spec()
        self.policy = compile_policy(spec.rollout, spec.objectives(), slices=sliced_lanes(spec))
        self.ledger = self.ledger or FileLedger(Settings(self.home).ledger, code_version="0.1.0")
        self.rollout_id = f"tags-{self.number}-abc{self.number}"
        self.state = start(
            self.policy,
            at_s=self.at_s,
            rollout_id=self.rollout_id,
            champion="price-tags@1",
            challenger=f"price-tags@{self.number}",
        )
        self.ticks = 0

    def tick(self, seconds: float = 1.0, manual: tuple[ManualAction, ...] = ()) -> int:
        """Observe, decide and write once; return the decision's number."""
        self.at_s += seconds
        self.ticks += 1
        phase, weight = self.state.phase, self.state.weight
        mine = round(self.rate * weight)
        theirs = self.rate - mine
        counts = ArmsTick(Tally(sum(self.rng.random() < self.bad for _ in range(mine)), mine), Tally(0, theirs))
        scores = ScoresTick(
            challenger=tuple(float(self.rng.random() < self.score) for _ in range(mine)), champion=(1.0,) * theirs
        )
        seen = Observation(
            at_s=self.at_s,
            counts={"availability": counts},
            scores={"text": scores},
            exposures=(Exposure(weight, mine, theirs),) if phase is Phase.PROGRESSING else (),
            newest_telemetry_s=self.at_s,
            request_rate=float(self.rate),
            ready=self.ticks > 2,
            weight_applied=weight,
            mirror_applied=0.0,
            alias_moved=phase in {Phase.BAKING, Phase.PROMOTED} or (phase is Phase.PROMOTING and weight == 1.0),
            retired=phase is Phase.BAKING or phase is Phase.ROLLING_BACK,
            manual=manual,
        )
        decision = decide(self.policy, self.state, seen)
        self.state = decision.state
        assert self.ledger is not None
        entry = self.ledger.append(
            at_s=self.at_s,
            rollout_id=self.rollout_id,
            policy_digest=self.policy.digest,
            observation=json.loads(seen.to_json()),
            decision=decision_document(decision),
        )
        return entry.sequence

    def finish(self, most: int = 400) -> Phase:
        """Tick until the rollout has ended."""
        while self.state.phase not in ENDED and self.ticks < most:
            self.tick()
        return self.state.phase

    def pause(self, reason: str) -> int:
        """Let a person pause it."""
        return self.tick(manual=(ManualAction(ManualKind.PAUSE, "alice", reason),))


def next_rollout(writer: Writer, **changes: Any) -> Writer:
    """Return a writer of the next rollout in the same ledger."""
    return replace(writer, **{"at_s": writer.at_s + 5, **changes})

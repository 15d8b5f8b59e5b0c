"""What the control plane shows of itself at one moment; whoever runs it hands this over, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.store.outbox import Backlog
from rollout.burn import Budget, Finding
from rollout.phases import Phase
from rollout.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class RolloutSnapshot:
    """A living rollout as its last decision left it, at ``decided_s``.

    ``weight`` and ``mirror_share`` were asked for; ``weight_applied`` is what gateways acknowledged, None when they
    follow none of it. ``reason`` is the decision's code.
    """

    rollout_id: str
    service: str
    champion: str
    challenger: str
    phase: Phase
    reason: str
    decided_s: float
    weight: float
    mirror_share: float
    weight_applied: float | None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class SloSnapshot:
    """One objective of a service: ``sli`` is the share of good events or the mean score, None without data.

    A mean score has neither budget nor findings.
    """

    service: str
    objective: str
    sli: float | None
    budget: Budget | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlSnapshot:
    """Everything at one moment.

    ``leads``: whether this process is the leader; one that isn't hands over nothing of the leader's work, so that
    several processes never tell the same twice. ``rollouts`` are the living ones; ``rollouts_by_phase`` counts all that
    ever were. ``frozen`` and ``killed`` count the freezes and kill switches in force.
    """

    leads: bool = False
    rollouts: tuple[RolloutSnapshot, ...] = ()
    rollouts_by_phase: Mapping[str, int] = field(default_factory=dict)
    slos: tuple[SloSnapshot, ...] = ()
    jobs_by_state: Mapping[str, int] = field(default_factory=dict)
    outbox: Backlog = field(default_factory=Backlog)
    frozen: int = 0
    killed: int = 0

"""What one rollout's decision reads from the evidence, as plain numbers, and the verdicts made of it."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.records import record
from contracts.specs.slo import GateKind
from rollout.attribution import ORDER, Attribution, attribute
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, CHAMPION, Evidence, Flags, Index
from rollout.gates import assess
from rollout.layout import LIVE, LIVE_CHAMPION, PAIRED, STREAMS_PER_SCORE, Layout
from rollout.observation import Observation
from rollout.policy import GateFamily, Policy
from rollout.ramp import largest_excess
from rollout.state import State
from rollout.verdicts import Outcome, Verdict

LARGEST_LOG = 700.0

Column = npt.NDArray[Any]


@record(frozen=True, slots=True)
class View:
    """The evidence after a tick, and what the gates (lists over gates) see in it.

    ``evidence_harm`` and ``evidence_safe`` are e-values, ``value`` and ``n`` what the verdicts show, ``attribution``
    positions in ``ORDER``; the rest is as in ``Assessment``.
    """

    evidence: Evidence
    evidence_harm: list[float]
    evidence_safe: list[float]
    harm: list[bool]
    safe: list[bool]
    attribution: list[int]
    worst: list[int]
    value: list[float]
    n: list[float]
    split_broken: bool
    burning: bool
    excess: float
    pairs: float

    def attributed(self, cause: Attribution) -> list[int]:
        """Return the gates whose proven harm is put down to ``cause``."""
        if not any(self.attribution):
            return []
        code = ORDER.index(cause)
        return [gate for gate, value in enumerate(self.attribution) if value == code]


def view_columns(layout: Layout, evidence: Evidence, *, muted: Flags) -> tuple[Column, ...]:
    """Return the fields of ``View`` after ``evidence``, in their order, as arrays with any leading axes.

    ``muted`` (..., G): gates that a person overrode.
    """
    seen = assess(layout, evidence)
    compared = compared_gates(layout, evidence)
    value, n = _values(layout, evidence, seen.worst)
    return (
        np.exp(np.minimum(seen.log_harm, LARGEST_LOG)),
        np.exp(np.minimum(seen.log_safe, LARGEST_LOG)),
        seen.harm,
        seen.safe,
        attribute(layout, seen, muted=muted, compared=compared),
        seen.worst,
        value,
        n,
        seen.split_broken,
        seen.burning,
        largest_excess(layout, evidence),
        _pairs(layout, evidence),
    )


def compared_gates(layout: Layout, evidence: Evidence) -> Flags:
    """Return, per gate (..., G), whether the champion was seen at all, so that blame can be asked."""
    counted = layout.cell >= 0
    result = np.zeros((*evidence.unspent.shape[:-1], layout.cell.size), dtype=bool)
    result[..., counted] = evidence.total[..., layout.cell[counted], CHAMPION] > 0
    streams, count = layout.stream[~counted], evidence.score_count
    result[..., ~counted] = (count[..., streams + LIVE_CHAMPION] > 0) | (count[..., streams + PAIRED] > 0)
    return result


def _values(layout: Layout, evidence: Evidence, worst: Index) -> tuple[Array, Array]:
    """Return, per gate (..., G), the value its verdict shows (NaN without data) and the challenger's number."""
    value, n = np.full(worst.shape, np.nan), np.zeros(worst.shape)
    counted = layout.cell >= 0
    cell = layout.cell[counted] + worst[..., counted]
    bad, total = (_take(array, cell) for array in (evidence.bad, evidence.total))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = bad / total
        ratio = rate[..., CHALLENGER] / rate[..., CHAMPION]
        live = evidence.score_sum / evidence.score_count
    value[..., counted] = np.where(layout.relative[counted], ratio, rate[..., CHALLENGER])
    n[..., counted] = total[..., CHALLENGER]
    streams = layout.stream[~counted]
    value[..., ~counted] = live[..., streams + LIVE]
    n[..., ~counted] = evidence.score_count[..., streams + LIVE] + evidence.score_count[..., streams + PAIRED]
    return value, n


def _take(array: Array, cell: Index) -> Array:
    """Return rows (..., g, 2) of an array (..., cells, 2)."""
    return np.take_along_axis(array, np.broadcast_to(cell[..., None], (*cell.shape, 2)), axis=-2)


def _pairs(layout: Layout, evidence: Evidence) -> Array:
    """Return how many mirrored outputs were compared: the fewest over scored indicators, else requests mirrored."""
    if layout.stack.streams:
        return np.asarray(evidence.score_count[..., PAIRED::STREAMS_PER_SCORE].min(axis=-1))
    return np.asarray(evidence.total[..., CHALLENGER].max(axis=-1))


def muted_gates(policy: Policy, state: State) -> list[bool]:
    """Return, per gate, whether a person overrode it."""
    return [gate.name in state.muted for gate in policy.gates]


def distrust(
    policy: Policy, state: State, observation: Observation, view: View, waiting_s: tuple[float, ...]
) -> list[str]:
    """Return, per gate, why its data can't be trusted at this tick, or ""."""
    general = ""
    newest_s = state.phase_since_s
    if observation.newest_telemetry_s is not None:
        newest_s = max(newest_s, observation.newest_telemetry_s)
    age_s = observation.at_s - newest_s
    if view.split_broken:
        general = "the observed split contradicts the declared weights"
    elif age_s > policy.spec.max_staleness and (state.weight > 0 or state.mirror_share > 0):
        general = f"the newest telemetry is {age_s:.0f} s old"
    why = [general] * len(policy.gates)
    for position, gate in enumerate(policy.gates):
        if general or gate.family is not GateFamily.SCORE:
            continue
        since = waiting_s[policy.scored.index(gate.sli)]
        if since >= 0 and observation.at_s - since > policy.spec.max_staleness:
            why[position] = f"pictures have been waiting for a score for {observation.at_s - since:.0f} s"
    return why


def make_verdicts(policy: Policy, state: State, view: View, why: list[str]) -> tuple[Verdict, ...]:
    """Return one verdict per gate, in the policy's order."""
    return tuple(
        _verdict(policy, position, state=state, view=view, why=why[position]) for position in range(len(policy.gates))
    )


def _verdict(policy: Policy, position: int, *, state: State, view: View, why: str) -> Verdict:
    gate = policy.gates[position]
    safe_side = gate.unacceptable is not None
    if why:
        outcome = Outcome.NO_DATA
    elif view.harm[position]:
        outcome = Outcome.HARM
    else:
        outcome = Outcome.PASS if safe_side and view.safe[position] else Outcome.INCONCLUSIVE
    part = view.worst[position] if policy.slices and gate.family is not GateFamily.SCORE else 0
    return Verdict(
        gate,
        outcome,
        state.challenger,
        view.value[position],
        int(view.n[position]),
        view.evidence_harm[position],
        view.evidence_safe[position] if safe_side else math.nan,
        policy.slices[part - 1] if part else "",
        why,
    )


def required_gates(policy: Policy, state: State) -> list[int]:
    """Return the gates that promotion waits for: those that can roll back, have a safe side and aren't overridden."""
    return [gate for gate in required_columns(policy).tolist() if policy.gates[gate].name not in state.muted]


@lru_cache(maxsize=1024)
def required_columns(policy: Policy) -> Index:
    """Return the gates that promotion waits for when a person overrode none."""
    safe = [gate.kind is GateKind.GATE and gate.unacceptable is not None for gate in policy.gates]
    return np.flatnonzero(safe)

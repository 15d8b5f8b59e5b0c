"""How much traffic the challenger may have: bounded harm, or the steps a person wrote."""

import numpy as np

from contracts.specs.rollout import RolloutSpec
from rollout.evidence import bounds, dispersion
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, Evidence
from rollout.layout import Layout

LEAST_EXCESS = 1e-9


def largest_excess(layout: Layout, evidence: Evidence) -> Array:
    """Return, over all burn gates, the largest excess over its limit that the bad rate may still have (...).

    Each gate's upper bound is anytime-valid at the policy's gamma / gates (Howard et al. 2021, beta-binomial mixture
    with Beta(½, ½)), on counts deflated by their over-dispersion. Zero when no gate counts requests.
    """
    cells = layout.ramp_cells
    if not cells.size:
        return np.zeros(evidence.bad.shape[:-2])
    phi = dispersion.estimate(evidence.term_sum, evidence.term_count)[..., cells, CHALLENGER]
    shrink = dispersion.deflation(phi)
    bad = evidence.bad[..., cells, CHALLENGER] / shrink
    total = evidence.total[..., cells, CHALLENGER] / shrink
    upper = bounds.upper_rate(bad, total, layout.ramp_level)
    return np.asarray((upper - layout.ramp_bounds).max(axis=-1))


def adaptive_weight(spec: RolloutSpec, excess: Array, request_rate: Array, last_weight: Array) -> Array:
    """Return the share w = B / (λ · d · excess), within the policy's limits and growth (...).

    ``request_rate`` λ in requests per second of the whole service; d is the spec's reaction lag in seconds, B its harm
    budget in bad responses. At most ``growth`` times the last weight, so that one quiet tick can't open the gate.
    """
    flow = np.maximum(request_rate, 0.0) * spec.reaction_lag * np.maximum(excess, LEAST_EXCESS)
    budgeted = spec.harm_budget / np.maximum(flow, 1e-12)
    grown = np.minimum(budgeted, np.maximum(last_weight, spec.min_weight) * spec.growth)
    return np.clip(grown, spec.min_weight, spec.max_weight)

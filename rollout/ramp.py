"""How much traffic the challenger may have: bounded harm, or the steps a person wrote."""

from typing import Any, TypeVar

import numpy as np

from contracts.specs.rollout import RolloutSpec
from rollout.evidence import bounds, dispersion
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, Evidence
from rollout.layout import Layout

LEAST_EXCESS = 1e-9
Share = TypeVar("Share", float, Array)


def largest_excess(layout: Layout, evidence: Evidence) -> Array:
    """Return the largest excess over what its gate tolerates that the share of bad answers may still have (...).

    Asked are the burn gates, and the score gates within the harm budget: an answer that scores s is 1 - s of a bad
    one. Each upper bound is anytime-valid at the policy's gamma / gates (Howard et al. 2021, beta-binomial mixture with
    Beta(½, ½)), and one as long as nothing was counted or scored. It holds for any x in [0, 1], not for counts alone:
    (q/p)^x ((1-q)/(1-p))^(1-x) is convex in x, so its mean is at most that of a coin of the same mean, which is one.
    Zero when no gate limits the ramp.
    """
    if not layout.ramp_bounds.shape[-1]:
        return np.zeros(evidence.bad.shape[:-2])
    bad, total = (
        np.concatenate(columns, axis=-1)
        for columns in zip(_counted(layout, evidence), _scored(layout, evidence), strict=True)
    )
    return np.asarray((bounds.upper_rate(bad, total, layout.ramp_level) - layout.ramp_bounds).max(axis=-1))


def _counted(layout: Layout, evidence: Evidence) -> tuple[Array, Array]:
    """Return bad and all requests of each burn gate (..., G), deflated by their over-dispersion."""
    cells = layout.ramp_cells
    phi = dispersion.estimate(evidence.term_sum, evidence.term_count)[..., cells, CHALLENGER]
    shrink = dispersion.deflation(phi)
    return evidence.bad[..., cells, CHALLENGER] / shrink, evidence.total[..., cells, CHALLENGER] / shrink


def _scored(layout: Layout, evidence: Evidence) -> tuple[Array, Array]:
    """Return what the scores of each score gate (..., S) lack of one, and how many there are."""
    count = evidence.score_count[..., layout.ramp_streams]
    return np.clip(count - evidence.score_sum[..., layout.ramp_streams], 0.0, count), count


def adaptive_weight(spec: RolloutSpec, excess: Share, request_rate: Share, last_weight: Share) -> Share:
    """Return the share w = B / (λ · d · excess), within the policy's limits and growth; of numbers or of arrays (...).

    ``request_rate`` λ in requests per second of the whole service; d is the spec's reaction lag in seconds, B its harm
    budget in bad responses. At most ``growth`` times the last weight, so that one quiet tick can't open the gate.
    """
    # A thousand rollouts are asked one by one each second, and numpy takes ten times as long for a number.
    bounds_of: tuple[Any, Any] = (np.minimum, np.maximum) if isinstance(excess, np.ndarray) else (min, max)
    least, most = bounds_of
    flow = most(request_rate, 0.0) * spec.reaction_lag * most(excess, LEAST_EXCESS)
    budgeted = spec.harm_budget / most(flow, 1e-12)
    grown = least(budgeted, most(last_weight, spec.min_weight) * spec.growth)
    share: Share = least(most(grown, spec.min_weight), spec.max_weight)
    return share

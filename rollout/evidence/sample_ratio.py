"""Whether the observed split matches the declared weights: a sequential multinomial test for two arms.

Given the weight w of each request, the number that went to the challenger is binomial. Against it stand alternatives
whose odds are off by a factor r_k, to either side, from 10 % to eight-fold; smaller errors of the split don't matter
to the gates and never alarm. It is the anytime-valid multinomial test of Lindon & Malek (2022) with a discrete prior,
which lets the weight change from tick to tick. Count units of randomisation: users when assignment is sticky.
"""

import numpy as np

from contracts.errors import InvalidInput
from rollout.evidence import mixture, two_arm
from rollout.evidence.mixture import GRID, Array, EProcess

LEVEL = 0.001
RATIOS = np.concatenate([np.geomspace(1.1, 8.0, GRID // 2), 1 / np.geomspace(1.1, 8.0, GRID // 2)])
LOG_PRIOR = mixture.decreasing_log_prior(0.0)


def log_factor(weight: Array, challenger: Array, champion: Array) -> Array:
    """Return ln of one tick's factors, (..., K).

    Shapes (..., n): n stretches of constant ``weight`` within the tick, and the requests assigned to each arm in each.
    Stretches at weight 0 or 1 hold no choice and tell nothing.
    """
    chosen = (weight > 0.0) & (weight < 1.0)
    odds = np.stack([np.where(chosen, weight, 0.5), np.where(chosen, 1.0 - weight, 0.5)], axis=-1)
    assigned = np.stack([np.where(chosen, challenger, 0.0), np.where(chosen, champion, 0.0)], axis=-1)
    null = np.ones(weight.shape)
    return np.asarray(two_arm.rare_log_factor(RATIOS, null, assigned, odds).sum(axis=-2))


def start() -> EProcess:
    """Return evidence one against the declared split."""
    return mixture.start(LOG_PRIOR, late_onset=True)


def update(state: EProcess, weight: float, challenger: int, champion: int, *, onset: float = 0.0) -> EProcess:
    """Return the state after one stretch at ``weight``; a mismatch is proven at evidence 1/0.001.

    Raises:
        InvalidInput: when the weight lies outside [0, 1] or a count is negative.
    """
    if not 0.0 <= weight <= 1.0:
        raise InvalidInput(f"weight: {weight!r} is not between 0 and 1")
    if challenger < 0 or champion < 0:
        raise InvalidInput("challenger, champion: a count is negative")
    factor = log_factor(np.array([weight]), np.array([float(challenger)]), np.array([float(champion)]))
    return mixture.update(state, LOG_PRIOR, factor, onset=onset)

"""What the gates see in the evidence: one vector operation for all gates of any number of rollouts."""

from dataclasses import dataclass

import numpy as np

from rollout.evidence import mixture, sample_ratio
from rollout.evidence.mixture import Array
from rollout.evidence.stack import CHALLENGER, Evidence, Flags, Index
from rollout.layout import Layout

BURN_PAUSE = 2.0
BURN_PAUSE_MIN_BAD = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Assessment:
    """What all gates (..., G) see, before anyone asks whether the data can be trusted.

    ``log_harm``, ``log_safe``, ``log_champion``, ``log_blame`` are ln of the evidence against "tolerable",
    "unacceptable", "the champion is tolerable" and "the challenger is no worse"; the flags compare them with what is
    needed. ``worst`` is the part (0 overall, then slices) with most evidence of harm. ``split_broken`` (...): the
    sample ratio contradicts the declared weights. ``burning`` (...): twice the budget's rate in the last minutes.
    """

    log_harm: Array
    log_safe: Array
    log_champion: Array
    log_blame: Array
    harm: Flags
    safe: Flags
    champion: Flags
    blame: Flags
    worst: Index
    split_broken: Flags
    burning: Flags


def assess(layout: Layout, evidence: Evidence) -> Assessment:
    """Return what all gates of a policy see in the evidence (leading axes allowed)."""
    log_e = mixture.log_evidence(evidence.log_s, evidence.unspent)
    readings = layout.readings
    parts = log_e[..., readings.harm] + readings.harm_share
    harm = _log_sum(parts)
    safe = _log_sum(log_e[..., readings.safe] + readings.safe_share)
    champion = _log_sum(log_e[..., readings.champion] + readings.champion_share)
    blame = _log_sum(log_e[..., readings.blame] + readings.blame_share)
    return Assessment(
        log_harm=harm,
        log_safe=safe,
        log_champion=champion,
        log_blame=blame,
        harm=harm >= layout.log_needed_harm,
        safe=safe >= layout.log_needed_safe,
        champion=champion >= layout.log_needed_harm,
        blame=blame >= layout.log_needed_harm,
        worst=parts.argmax(axis=-1),
        split_broken=log_e[..., -1] >= -np.log(sample_ratio.LEVEL),
        burning=_burning(layout, evidence),
    )


def _log_sum(parts: Array) -> Array:
    """Return ln of the sum of exponentials over the last axis; -inf where there is nothing to read."""
    if parts.shape[-1] == 1:
        return np.asarray(parts[..., 0])
    top = parts.max(axis=-1)
    safe_top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe_top + np.log(np.exp(parts - safe_top[..., None]).sum(axis=-1)))


def _burning(layout: Layout, evidence: Evidence) -> Flags:
    bad = evidence.recent_bad[..., layout.ramp_cells, CHALLENGER]
    total = evidence.recent_total[..., layout.ramp_cells, CHALLENGER]
    over = bad > BURN_PAUSE * layout.ramp_bounds[..., : layout.ramp_cells.size] * np.maximum(total, 1.0)
    return np.asarray((over & (bad >= BURN_PAUSE_MIN_BAD)).any(axis=-1))

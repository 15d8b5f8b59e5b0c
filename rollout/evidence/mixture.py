"""The recursion that every e-process here shares: a mixture over alternatives, and over when the fault began.

A test holds K alternatives with prior masses π_k. One tick multiplies alternative k by its likelihood ratio (or its
bet's return) ``exp(log_factor_k)``, whose mean under the null is at most one. With onset mass h_t, set in advance::

    S_k ← (S_k + h_t · π_k) · exp(log_factor_k)          E = Σ_k S_k + (1 - Σ_{j≤t} h_j)

E starts at one and is a non-negative supermartingale under the null, so P(sup E ≥ 1/α) ≤ α (Ville 1939; Ramdas,
Grünwald, Vovk & Shafer 2023; the onset prior is the e-detector of Shin, Ramdas & Rinaldo 2023 with finite mass).
Everything is kept in logarithms; arrays carry any number of leading axes (gates, rollouts, simulated runs).
"""

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import InvalidInput

Array = npt.NDArray[np.float64]

GRID = 24
ONSET_AT_START = 0.5


@dataclass(frozen=True, slots=True)
class EProcess:
    """The state of one e-process.

    ``log_s`` holds ln S_k for each alternative, ``unspent`` the prior mass of faults that have not begun.
    """

    log_s: tuple[float, ...]
    unspent: float

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence against the null."""
        return float(log_evidence(np.array(self.log_s), np.array(self.unspent)))

    def to_json(self) -> str:
        """Return the state as JSON; ``from_json`` gives back the same floats, bit by bit."""
        return json.dumps({"log_s": self.log_s, "unspent": self.unspent})

    @classmethod
    def from_json(cls, text: str) -> "EProcess":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it is something else.
        """
        try:
            fields = json.loads(text)
            return cls(tuple(float(value) for value in fields["log_s"]), float(fields["unspent"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"evidence: not the state of an e-process ({error})") from None


def start(log_prior: Array, *, late_onset: bool) -> EProcess:
    """Return evidence one: half of it kept for faults that begin later when ``late_onset``."""
    share = ONSET_AT_START if late_onset else 1.0
    return EProcess(tuple((log_prior + np.log(share)).tolist()), 1.0 - share)


def update(state: EProcess, log_prior: Array, log_factor: Array, *, onset: float = 0.0) -> EProcess:
    """Return the state after one tick; ``onset`` is the prior mass of a fault beginning at this very tick."""
    log_s, unspent = advance(np.array(state.log_s), np.array(state.unspent), log_prior, np.array(onset), log_factor)
    return EProcess(tuple(log_s.tolist()), float(unspent))


def advance(log_s: Array, unspent: Array, log_prior: Array, onset: Array, log_factor: Array) -> tuple[Array, Array]:
    """Advance any number of e-processes by one tick.

    Shapes: ``log_s``, ``log_prior``, ``log_factor`` (..., K); ``unspent``, ``onset`` (...). At most what is unspent
    is moved. Returns the new ``log_s`` and ``unspent``.
    """
    moved = np.minimum(onset, unspent)
    if not moved.any():
        return log_s + log_factor, unspent + np.zeros_like(moved)
    with np.errstate(divide="ignore"):
        joined = np.logaddexp(log_s, np.log(moved)[..., None] + log_prior)
    return joined + log_factor, unspent - moved


def log_evidence(log_s: Array, unspent: Array) -> Array:
    """Return ln E of e-processes of shape (..., K) with their unspent prior mass (...)."""
    with np.errstate(divide="ignore"):
        rest = np.log(unspent)
    top = np.maximum(log_s.max(axis=-1), rest)
    return np.asarray(top + np.log(np.exp(log_s - top[..., None]).sum(axis=-1) + np.exp(rest - top)))


def decreasing_log_prior(decay: float, size: int = GRID) -> Array:
    """Return ln π_k with π_k ∝ exp(-decay · k / K): the mildest fault first, for it takes the longest to prove."""
    weights = np.exp(-decay * np.arange(size) / size)
    return np.asarray(np.log(weights / weights.sum()))

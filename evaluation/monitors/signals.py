"""What users do, as scores in [0, 1]: ratings as they are, and whether they asked the same again within a minute."""

from collections.abc import Iterable

import numpy as np

from contracts.wire.telemetry import Feedback, TelemetryBatch, UserSignals
from evaluation.drift.detector import Array
from evaluation.monitors.monitor import NOT_ASKED_AGAIN, RATING


def ratings(feedback: Iterable[Feedback], version: str) -> Array:
    """Return users' ratings of one version, in the order of time."""
    mine = sorted((one for one in feedback if str(one.version) == version), key=lambda one: one.at_s)
    return np.array([one.rating for one in mine], dtype=float)


def not_asked_again(signals: Iterable[UserSignals], version: str) -> Array:
    """Return a one for each answer that its user let stand, a zero for each that was asked for again.

    Within one batch the order is not known; the zeros come last, so that an alarm is never early by it.
    """
    values: list[float] = []
    for signal in signals:
        if str(signal.version) == version:
            again = min(signal.asked_again, signal.answered)
            values += [1.0] * (signal.answered - again) + [0.0] * again
    return np.array(values, dtype=float)


def user_values(batches: Iterable[TelemetryBatch], metric: str, service: str, version: str) -> Array:
    """Return the values of a user signal of one service's version in some batches."""
    found = list(batches)
    if metric == RATING:
        return ratings((f for b in found for f in b.feedback if f.service == service), version)
    if metric == NOT_ASKED_AGAIN:
        return not_asked_again((s for b in found for s in b.signals if s.service == service), version)
    return np.array([])

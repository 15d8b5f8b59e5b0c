"""The paired e-process of rollouts, handed to human review: votes are paired differences like any score's."""

import math
from collections.abc import Sequence

from rollout.evidence import mixture
from rollout.evidence.counts import Side
from rollout.evidence.scores import scores_test

EVEN = 0.5


class PreferenceEvidence:
    """Evidence that either version is preferred: the mean of two one-sided processes, so that 1/α is enough.

    Nothing begins late: all items are drawn by the same two versions.
    """

    def value(self, differences: Sequence[float]) -> float:
        """Return the evidence after all differences in [-1, 1], in their order; 1 without any."""
        scores = [(difference + 1) / 2 for difference in differences]
        logs = []
        for side in (Side.SAFE, Side.HARM):
            test = scores_test(EVEN, side)
            begun = mixture.start(test.log_prior, late_onset=False)
            logs.append(test.update(begun, scores).log_evidence)
        top = max(logs)
        return math.exp(min(top + math.log(sum(math.exp(one - top) for one in logs) / 2), 700.0))

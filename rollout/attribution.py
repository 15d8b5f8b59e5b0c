"""Whether the release is to blame, or what it runs in.

A challenger that burns its budget is rolled back when it is proven worse than the champion over the same time: then an
outage that hits both arms alike rolls back with probability at most the gate's alpha, whichever arm it happens to be
proven on first. While all traffic is the challenger's (its bake) a proven harm takes it back to the least weight at
once, where the champion shows which it is. Where no champion was ever counted, the challenger's own harm is enough.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from rollout.evidence.stack import Flags
from rollout.gates import Assessment
from rollout.layout import Layout

Codes = npt.NDArray[np.int8]


class Attribution(StrEnum):
    """What a proven harm is put down to; the later in the list, the stronger the action."""

    NONE = "none"
    WATCH = "watch"
    UNCLEAR = "unclear"
    ENVIRONMENT = "environment"
    CHALLENGER = "challenger"


ORDER = tuple(Attribution)


def attribute(layout: Layout, assessment: Assessment, *, muted: Flags, compared: Flags) -> Codes:
    """Return, for each gate (..., G), the position in ``ORDER`` of what its proven harm is put down to.

    ``muted`` (..., G): gates that a person overrode. ``compared`` (..., G): the champion was ever counted.

    - not proven: none; proven on a watch or an overridden gate: watch (hold and tell);
    - proven, and worse than the champion (or nothing to compare with): the challenger (roll back);
    - proven on both, and not worse than the champion: the environment (hold at the minimum weight);
    - proven on the challenger alone, and not yet worse than the champion: unclear (hold within the harm budget).
    """
    to_blame = assessment.blame | ~compared
    code = np.where(to_blame, ORDER.index(Attribution.CHALLENGER), ORDER.index(Attribution.UNCLEAR))
    code = np.where(~to_blame & assessment.champion, ORDER.index(Attribution.ENVIRONMENT), code)
    code = np.where(layout.blocking & ~muted, code, ORDER.index(Attribution.WATCH))
    proven = assessment.harm & ~layout.informing
    return np.asarray(np.where(proven, code, ORDER.index(Attribution.NONE)), dtype=np.int8)

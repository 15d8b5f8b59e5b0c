"""Verdicts of a comparison, and the sentence that goes with each."""

from collections.abc import Iterable
from enum import StrEnum

from evaluation.side_by_side.ports import Claims


class Finding(StrEnum):
    """How the other version draws beside the one, within the tolerance."""

    BETTER = "better"
    EQUIVALENT = "equivalent"
    NOT_WORSE = "not-worse"
    WORSE = "worse"
    INCONCLUSIVE = "not-enough-evidence"
    NO_DATA = "no-data"

    @property
    def is_decided(self) -> bool:
        """Tell whether more pairs would change nothing."""
        return self in {Finding.BETTER, Finding.EQUIVALENT, Finding.WORSE}

    @property
    def is_pass(self) -> bool:
        """Tell whether the other version is proven not worse; no data and too little evidence are no pass."""
        return self in {Finding.BETTER, Finding.EQUIVALENT, Finding.NOT_WORSE}


def judge(claims: Claims, n: int) -> Finding:
    """Return what the claims on one measure come to after ``n`` pairs with a score on both sides."""
    if claims.worse:
        return Finding.WORSE
    if n == 0:
        return Finding.NO_DATA
    if claims.better:
        return Finding.BETTER
    if claims.not_worse:
        return Finding.EQUIVALENT if claims.not_better else Finding.NOT_WORSE
    return Finding.INCONCLUSIVE


def combine(findings: Iterable[Finding]) -> Finding:
    """Return the finding over all measures: the worst of them; better only when none is less than not worse."""
    found = set(findings)
    for worst in (Finding.WORSE, Finding.NO_DATA, Finding.INCONCLUSIVE):
        if worst in found or not found:
            return worst if found else Finding.NO_DATA
    if Finding.BETTER in found:
        return Finding.BETTER
    return Finding.NOT_WORSE if Finding.NOT_WORSE in found else Finding.EQUIVALENT

"""A comparison as a precondition of a rollout: whether there is one of these very bytes, and what it found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from evaluation.side_by_side.result import Comparison
from evaluation.side_by_side.verdicts import Finding


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """What is kept of a comparison where it can be searched for: digests, finding, and where the rest lies."""

    one: str
    other: str
    one_digest: str
    other_digest: str
    prompts_digest: str
    scorers: Mapping[str, str]
    finding: Finding
    pairs: int
    sentence: str
    run_id: str
    at_s: float


class ComparisonRecords(Protocol):
    """Where comparisons are kept."""

    def keep(self, comparison: Comparison, page: str) -> ComparisonRecord:
        """Keep a comparison with its page; all of it or nothing that counts."""
        ...

    def find(self, one_digest: str, other_digest: str) -> list[ComparisonRecord]:
        """Return the comparisons of these two contents, newest first."""
        ...


@dataclass(frozen=True, slots=True)
class Precondition:
    """Whether a comparison allows a rollout; ``record`` is the one that it stands on, None when there is none."""

    is_met: bool
    reason: str
    record: ComparisonRecord | None = None


def check_precondition(
    records: ComparisonRecords,
    one_digest: str,
    other_digest: str,
    *,
    prompts_digest: str | None = None,
    scorers: Mapping[str, str] | None = None,
) -> Precondition:
    """Ask for the newest comparison of these contents, on this prompt set and by these scorers (name to digest).

    A comparison by a scorer of another digest, or on other prompts, is another question and doesn't count. Without a
    comparison, and without enough evidence in it, the precondition is not met.
    """
    for record in records.find(one_digest, other_digest):
        if prompts_digest is not None and record.prompts_digest != prompts_digest:
            continue
        if any(record.scorers.get(name) != digest for name, digest in (scorers or {}).items()):
            continue
        return Precondition(record.finding.is_pass, record.sentence, record)
    return Precondition(is_met=False, reason="no comparison of these contents on these prompts by these scorers")

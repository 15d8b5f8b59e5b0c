"""Outputs beside one another: the same prompt and seed drawn by two versions, the challenger's worst first."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.web.sources.serving import Drawn

MOST_PAIRS = 6


@dataclass(frozen=True)
class Pair:
    """One prompt and seed; ``champion`` is None where only the challenger's output was kept."""

    metric: str
    prompt: str
    seed: int
    challenger: Drawn
    champion: Drawn | None

    @property
    def difference(self) -> float | None:
        """Challenger minus champion."""
        return None if self.champion is None else self.challenger.value - self.champion.value


@dataclass(frozen=True)
class PairList:
    """The pairs; without any, the challenger's worst outputs alone. One sentence says which."""

    sentence: str
    pairs: tuple[Pair, ...]


def view_pairs(drawn: Sequence[Drawn] | None, champion: str, challenger: str) -> PairList | None:
    """Return the worst pairs of two versions; None where no output was kept."""
    mine = [one for one in drawn or () if one.version == challenger]
    if not mine:
        return None
    theirs = {(one.metric, one.request_id): one for one in drawn or () if one.version == champion}
    pairs = [Pair(o.metric, o.prompt, o.seed, o, theirs.get((o.metric, o.request_id))) for o in mine]
    whole = [pair for pair in pairs if pair.champion is not None]
    if whole:
        whole.sort(key=lambda pair: (pair.difference, pair.challenger.value))
        return PairList(
            f"{len(whole)} prompt{'s' if len(whole) != 1 else ''} drawn by both versions with the same seed; "
            "the challenger's largest losses first.",
            tuple(whole[:MOST_PAIRS]),
        )
    return PairList(
        f"No prompt was drawn by both versions, for nothing was mirrored: the lowest scores of {challenger} alone.",
        tuple(pairs[:MOST_PAIRS]),
    )

"""How well lines that were read agree with the texts asked for: three measures, each in [0, 1]."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Agreement:
    """Three shares of one.

    ``words``: of the words asked for, those that were read. ``lines``: of the texts, those that are a line read.
    ``edits``: one minus the normalised edit distance to the nearest line, averaged over the texts.
    The last two tell a wrong letter (0 and 0.9) from no text at all (0 and 0).
    """

    words: float
    lines: float
    edits: float


def compare_texts(asked: Sequence[str], lines: Sequence[str]) -> Agreement:
    """Compare texts with the lines read, in any case and without punctuation; ``asked`` holds a word at least.

    Words are counted with their repetitions (MARIO-Eval's recall). A line is exact when all its words are; the edit
    distance is Levenshtein's over the longer length (AnyText's NED, here to the nearest line for want of boxes).
    """
    wanted = [_normalise(text) for text in asked]
    read = [_normalise(line) for line in lines]
    words = Counter(word for text in wanted for word in text.split())
    seen = Counter(word for line in read for word in line.split())
    # One text may be set in several lines: all lines together are a candidate too.
    candidates = [*read, " ".join(read)] if read else []
    return Agreement(
        words=sum((words & seen).values()) / sum(words.values()),
        lines=sum(text in candidates for text in wanted) / len(wanted),
        edits=sum(max((likeness(text, line) for line in candidates), default=0.0) for text in wanted) / len(wanted),
    )


def likeness(one: str, other: str) -> float:
    """Return 1 - Levenshtein distance / length of the longer; one for two empty texts."""
    longest = max(len(one), len(other))
    return 1.0 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: str, other: str) -> int:
    """Return the fewest insertions, deletions and substitutions of a letter that make one text the other."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, row[0] = row[0], i
        for j, sign in enumerate(other, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (letter != sign))
    return row[-1]


def _normalise(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))

"""The prompts of the price-tag task: what may be asked, and what a prompt asks for.

A prompt names one to four digits and, in some phrasings, an ink and a paper::

    a handwritten seven
    the digits 4 2 7
    price tag 427 in red ink on yellow paper

"4 2 7" and "427" ask for the same tag, as they are the same tokens for a CLIP tokenizer.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

INKS: Final = ("black", "red", "blue")
PAPERS: Final = ("white", "yellow", "pink", "green", "grey")
DEFAULT_INK: Final = "black"
DEFAULT_PAPER: Final = "white"
MAX_DIGITS: Final = 4
NUMBER_WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VOCABULARY: Final[tuple[str, ...]] = (
    *"0123456789",
    *NUMBER_WORDS,
    *("a", "the", "handwritten", "digit", "digits", "number", "price", "tag", "in", "ink", "on", "paper"),
    *INKS,
    *PAPERS,
)
"""Every word a prompt of the grammar can hold, in the order of the demo tokenizer's ids."""

FIGURE_SEED: Final = 20_011
"""Seed of the prompts on which every published figure is measured."""

_DIGIT = rf"(?:[0-9]|{'|'.join(NUMBER_WORDS)})"
_GAP = r"(?:(?<=[0-9])(?=[0-9])| )"
_PROMPT = re.compile(
    rf"(?:a handwritten|a handwritten number|the digits?|the number|price tag|a price tag) "
    rf"(?P<digits>{_DIGIT}(?:{_GAP}{_DIGIT}){{0,{MAX_DIGITS - 1}}})"
    rf"(?: in (?P<ink>{'|'.join(INKS)}) ink)?(?: on (?P<paper>{'|'.join(PAPERS)}) paper)?"
)


@dataclass(frozen=True, slots=True)
class TagText:
    """What a tag has to show: its digits from left to right, the colour of the ink and of the paper."""

    digits: str
    ink: str = DEFAULT_INK
    paper: str = DEFAULT_PAPER


def parse_prompt(prompt: str) -> TagText | None:
    """Read what a prompt asks for; None when it is not a sentence of the grammar.

    Case and surplus white space do not matter. Ink and paper that the prompt does not name are
    black and white.
    """
    match = _PROMPT.fullmatch(" ".join(prompt.lower().split()))
    if match is None:
        return None
    words = re.findall(_DIGIT, match["digits"])
    digits = "".join(str(NUMBER_WORDS.index(word)) if word in NUMBER_WORDS else word for word in words)
    return TagText(digits, match["ink"] or DEFAULT_INK, match["paper"] or DEFAULT_PAPER)


def is_withheld(digits: str) -> bool:
    """Tell whether a string is kept out of all training: four digits whose sum is divisible by five.

    A fifth of the four-digit strings. Text accuracy on them shows that a generator composes digits
    rather than recalls strings.
    """
    return len(digits) == MAX_DIGITS and sum(map(int, digits)) % 5 == 0


def write_prompt(text: TagText, rng: np.random.Generator) -> str:
    """Choose one of the phrasings that ask for this tag; parse_prompt gives the same tag back."""
    count = len(text.digits)
    styles = ["spaced", "joined", "words"]
    style = styles[rng.choice(3, p=(0.4, 0.4, 0.2))]
    words = [NUMBER_WORDS[int(digit)] for digit in text.digits] if style == "words" else list(text.digits)
    digits = ("" if style == "joined" else " ").join(words)
    plain = text.ink == DEFAULT_INK and text.paper == DEFAULT_PAPER
    openings = ["price tag", "a price tag", "the number"]
    openings += ["the digit", "a handwritten"] if count == 1 else ["the digits", "a handwritten number"]
    prompt = f"{openings[rng.integers(len(openings))]} {digits}"
    # A default may be left out or said; both must be understood as the same wish.
    says_ink = text.ink != DEFAULT_INK or (not plain and rng.random() < 0.7) or rng.random() < 0.2
    says_paper = text.paper != DEFAULT_PAPER or (not plain and rng.random() < 0.7) or rng.random() < 0.2
    prompt += f" in {text.ink} ink" if says_ink else ""
    return prompt + (f" on {text.paper} paper" if says_paper else "")


def sample_texts(n: int, rng: np.random.Generator, *, withheld: bool = True, fewest_digits: int = 1) -> list[TagText]:
    """Draw n tags: `fewest_digits` to four digits, ink and paper, each uniformly and independently.

    With `withheld=False` the strings of `is_withheld` are left out, as training must do.
    """
    texts: list[TagText] = []
    while len(texts) < n:
        digits = "".join(map(str, rng.integers(0, 10, size=rng.integers(fewest_digits, MAX_DIGITS + 1))))
        ink, paper = INKS[rng.integers(len(INKS))], PAPERS[rng.integers(len(PAPERS))]
        if withheld or not is_withheld(digits):
            texts.append(TagText(digits, ink, paper))
    return texts


def sample_prompts(n: int, rng: np.random.Generator) -> list[str]:
    """Draw n prompts of the grammar; the same generator state gives the same prompts, fewer a beginning of more."""
    return [write_prompt(text, rng) for _ in range(n) for text in sample_texts(1, rng)]


def figure_prompts(n: int) -> list[str]:
    """Give the first n prompts of the fixed set on which figures are measured and published."""
    return sample_prompts(n, np.random.default_rng(FIGURE_SEED))

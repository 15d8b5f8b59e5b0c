"""What is watched beside scores: prompts and parameters, each turned into streams of values in [0, 1].

Everything that is fitted (ranks, vocabulary, categories) is fitted on every other reference record, and the reference
mean is taken over the rest: the two halves are independent, so the stated false-alarm rate holds.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.drift.detector import Array
from evaluation.drift.records import Record

WORD = re.compile(r"[^\W_]+", re.UNICODE)
CATEGORIES = 4
SCRIPTS = (
    ("cyrillic", re.compile(r"[\u0400-\u04ff]")),
    ("cjk", re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")),
    ("arabic", re.compile(r"[\u0600-\u06ff]")),
    ("greek", re.compile(r"[\u0370-\u03ff]")),
    ("devanagari", re.compile(r"[\u0900-\u097f]")),
)
STOP_WORDS = {
    "en": {"the", "a", "an", "of", "and", "with", "on", "in", "at", "to", "for", "is", "by"},
    "de": {"der", "die", "das", "und", "ein", "eine", "mit", "auf", "im", "von", "für", "ist"},
    "fr": {"le", "la", "les", "un", "une", "et", "avec", "sur", "dans", "de", "du", "des"},
    "es": {"el", "los", "las", "una", "y", "con", "sobre", "en", "del", "por", "para"},
    "it": {"il", "lo", "gli", "una", "e", "con", "su", "nel", "della", "di", "per"},
}

Feature = Callable[[Record], float]


@dataclass(frozen=True)
class Streams:
    """The features of one watch: each maps a record to a value in [0, 1], or NaN where it has none.

    ``is_fitted`` names those whose reference mean must come from the half they were not fitted on.
    """

    features: Mapping[str, Feature]
    is_fitted: frozenset[str]

    def values(self, name: str, records: Sequence[Record]) -> Array:
        """Return one stream's values for the records, in order (n,)."""
        feature = self.features[name]
        return np.array([feature(record) for record in records], dtype=float)

    def reference_values(self, name: str, records: Sequence[Record]) -> Array:
        """Return the values that the stream's reference mean is taken over."""
        return self.values(name, records[1::2] if name in self.is_fitted else records)


def fit_streams(reference: Sequence[Record]) -> Streams:
    """Return the streams that the reference's records allow: scores as they are, prompts, parameters."""
    fitting = reference[::2]
    scores = sorted({name for record in reference for name in record.scores})
    plain: dict[str, Feature] = {f"score {name}": _score(name) for name in scores}
    fitted: dict[str, Feature] = {}
    if any(record.prompt is not None for record in fitting):
        fitted |= _prompt_features(fitting)
    for name in sorted({name for record in fitting for name in record.parameters}):
        fitted |= _parameter_features(name, fitting)
    return Streams({**plain, **fitted}, frozenset(fitted))


def guess_language(prompt: str) -> str:
    """Return a prompt's language by its script and its small words, ``unknown`` when neither tells.

    Good enough to see that a new group of users has come; no more is asked of it.
    """
    for name, script in SCRIPTS:
        if script.search(prompt):
            return name
    words = {word.lower() for word in WORD.findall(prompt)}
    hits = {language: len(words & small) for language, small in STOP_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] else "unknown"


def _prompt_features(fitting: Sequence[Record]) -> dict[str, Feature]:
    prompts = [record.prompt for record in fitting if record.prompt is not None]
    counts = Counter(word.lower() for prompt in prompts for word in set(WORD.findall(prompt)))
    known = {word for word, count in counts.items() if count >= 2}

    def share_known(record: Record) -> float:
        words = WORD.findall(record.prompt or "")
        return sum(word.lower() in known for word in words) / len(words) if words else math.nan

    def length(record: Record) -> float:
        return math.nan if record.prompt is None else float(len(WORD.findall(record.prompt)))

    def language(record: Record) -> str | None:
        return None if record.prompt is None else guess_language(record.prompt)

    features: dict[str, Feature] = {"prompt vocabulary": share_known}
    features |= _ranked("prompt length", length, fitting)
    features |= _categories("prompt language", language, fitting)
    return features


def _parameter_features(name: str, fitting: Sequence[Record]) -> dict[str, Feature]:
    def number(record: Record) -> float:
        value = record.parameters.get(name, math.nan)
        return value if isinstance(value, float | int) else math.nan

    def word(record: Record) -> str | None:
        value = record.parameters.get(name)
        return value if isinstance(value, str) else None

    features: dict[str, Feature] = {}
    if any(not math.isnan(number(record)) for record in fitting):
        features |= _ranked(f"parameter {name}", number, fitting)
    if any(word(record) is not None for record in fitting):
        features |= _categories(f"parameter {name}", word, fitting)
    return features


def _ranked(name: str, number: Feature, fitting: Sequence[Record]) -> dict[str, Feature]:
    """Return two streams: a number's rank among the fitted ones, and how far from the middle that is."""
    ordered = np.sort([value for record in fitting if not math.isnan(value := number(record))])

    def rank(record: Record) -> float:
        value = number(record)
        if math.isnan(value):
            return math.nan
        left, right = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
        return float(left + right) / (2 * max(len(ordered), 1))

    return {name: rank, f"{name} spread": lambda record: abs(2 * rank(record) - 1)}


def _categories(name: str, word: Callable[[Record], str | None], fitting: Sequence[Record]) -> dict[str, Feature]:
    """Return a stream of zeros and ones for each frequent category, and one for all the others."""
    frequent = [category for category, _ in Counter(filter(None, map(word, fitting))).most_common(CATEGORIES)]

    def is_category(category: str) -> Feature:
        return lambda record: math.nan if (found := word(record)) is None else float(found == category)

    def is_other(record: Record) -> float:
        return math.nan if (found := word(record)) is None else float(found not in frequent)

    features: dict[str, Feature] = {f"{name} {category}": is_category(category) for category in frequent}
    return {**features, f"{name} other": is_other}


def _score(name: str) -> Feature:
    return lambda record: record.scores.get(name, math.nan)

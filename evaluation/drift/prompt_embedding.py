"""Prompts as points: hashed n-grams of letters, which need no weights; or any other embedder of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluation.drift.detector import Array

DIMENSIONS: Final = 256
LETTERS: Final = (2, 4)


@dataclass(frozen=True, slots=True)
class TextEmbedder:
    """What turns texts into points (n, d) of one space; ``name`` says which space."""

    name: str
    embed: Callable[[Sequence[str]], Array]


def embed_ngrams(prompts: Sequence[str]) -> Array:
    """Return unit vectors (n, 256): n-grams of 2 to 4 letters within words, hashed with signs (Weinberger et al. 2009).

    Hashing is a sparse random projection that is the same everywhere, so points of different weeks compare. It sees
    words and spelling, not meaning.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    hasher = HashingVectorizer(analyzer="char_wb", ngram_range=LETTERS, n_features=DIMENSIONS)
    return np.asarray(hasher.transform(prompts).toarray(), dtype=float)


NGRAMS: Final = TextEmbedder(f"hashed n-grams of {LETTERS[0]} to {LETTERS[1]} letters", embed_ngrams)

"""Distances between folders of pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from contracts.errors import InvalidInput
from evaluation.scorers.clip import ClipModel
from evaluation.scorers.kinds import ScorerChoice
from evaluation.scorers.pictures_folder import read_pictures
from evaluation.scorers.sets.extractors import ClipFeatures, FeatureExtractor, PixelFeatures, TagFeatures
from evaluation.scorers.sets.measure import DistanceName, SetDistance, measure_set


def measure_folders(one: Path, other: Path, metrics: Sequence[str], extractor: str) -> list[SetDistance]:
    """Measure distances between the pictures of two folders; what can't be decoded, or features see nothing in, is out.

    Raises:
        InvalidInput: for an unknown metric or extractor, or a folder without pictures.
    """
    known = {name: name for name in get_args(DistanceName)}
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise InvalidInput(f"metric: there is none called {unknown[0]!r}", hint=f"known: {', '.join(known)}")
    chosen = choose_extractor(extractor)
    sides = [chosen.extract(read_pictures(folder)) for folder in (one, other)]
    if any(rows.size == 0 for rows in sides):
        width = max(rows.shape[1] for rows in sides)
        sides = [rows if rows.size else np.empty((0, width)) for rows in sides]
    return [measure_set(known[metric], *sides, extractor=chosen.name, digest=chosen.digest) for metric in metrics]


def choose_extractor(text: str) -> FeatureExtractor:
    """Return the extractor that a person names: ``pixels``, ``price-tags`` or ``clip:folder=FOLDER``."""
    choice = ScorerChoice.parse(text)
    options = dict(choice.options)
    if choice.kind == "clip" and options.keys() == {"folder"}:
        return ClipFeatures(ClipModel(Path(options["folder"])))
    if choice.kind in {"pixels", "price-tags"} and not options:
        return PixelFeatures() if choice.kind == "pixels" else TagFeatures()
    raise InvalidInput(f"extractor: {text!r} is none", hint="pixels, price-tags or clip:folder=FOLDER")

"""Outputs from a folder of pictures, with the prompts that asked for them."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from contracts.errors import InvalidInput
from contracts.ids import VersionId
from contracts.wire.telemetry import SampledOutput
from evaluation.prompts.prompt_set import PromptSet
from evaluation.scorers.intervals import wilson
from evaluation.scorers.picture import decode
from evaluation.scorers.port import Score, Scorer

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
METADATA: Final = ("metadata.jsonl", "metadata.csv")


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """One scorer over a folder: the mean of the ``n`` scores with its 95 % interval, and why others have none."""

    scorer: str
    digest: str
    n: int
    no_data: int
    mean: float | None
    low: float | None
    high: float | None
    reasons: tuple[str, ...]


def read_outputs(folder: Path, prompts: PromptSet | None = None) -> dict[str, SampledOutput]:
    """Return the pictures of a folder by file name, each with its prompt.

    The prompt of a picture stands in ``metadata.jsonl`` or ``metadata.csv`` (``file_name`` and ``prompt`` or
    ``text``, as an image folder of ``datasets`` has them), in a ``.txt`` of the same name, or in a prompt set whose
    ids are the file names; else it is empty, for scorers that look at the picture alone.

    Raises:
        InvalidInput: when there is no picture, or the metadata can't be read.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder", hint="name a folder with pictures")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise InvalidInput(f"{folder} holds no picture", hint=f"pictures end in {', '.join(sorted(SUFFIXES))}")
    told = dict(_read_metadata(folder))
    by_id = {prompt.id: prompt for prompt in prompts.prompts} if prompts else {}
    outputs = {}
    for index, path in enumerate(files):
        known, beside = by_id.get(path.stem), path.with_suffix(".txt")
        text = known.text if known else told.get(path.name, "")
        if not text and beside.is_file():
            text = beside.read_text(encoding="utf-8").strip()
        outputs[path.name] = SampledOutput(
            service="folder",
            version=VersionId("folder", 1),
            request_id=f"picture-{index}",
            lane=known.lane if known else "default",
            prompt=text,
            seed=known.seed if known else 0,
            at_s=0.0,
            image_png=path.read_bytes(),
        )
    return outputs


def summarise_scores(scorer: Scorer, scores: Sequence[Score]) -> ScoreSummary:
    """Return what one scorer found over all pictures; pictures without a score are counted, never averaged."""
    values = [score.value for score in scores if score.value is not None]
    counts: dict[str, int] = {}
    for score in scores:
        if score.value is None:
            counts[score.reason] = counts.get(score.reason, 0) + 1
    reasons = tuple(f"{reason} ({count}×)" for reason, count in sorted(counts.items(), key=lambda item: -item[1])[:3])
    n, lost = len(values), len(scores) - len(values)
    if not n:
        return ScoreSummary(scorer.name, scorer.digest, 0, lost, None, None, None, reasons)
    mean = sum(values) / n
    low, high = wilson(mean, n)
    return ScoreSummary(scorer.name, scorer.digest, n, lost, mean, low, high, reasons)


def read_pictures(folder: Path) -> list[Image.Image]:
    """Return the pictures of a folder in the order of their names, those left out that can't be decoded.

    Raises:
        InvalidInput: when there is no picture.
    """
    pictures = []
    for output in read_outputs(folder).values():
        try:
            pictures.append(decode(output.image_png))
        except InvalidInput:
            continue
    return pictures


def _read_metadata(folder: Path) -> Iterator[tuple[str, str]]:
    for name in METADATA:
        path = folder / name
        if not path.is_file():
            continue
        rows = _read_jsonl(path) if name.endswith(".jsonl") else _read_csv(path)
        for line, row in rows:
            file_name = row.get("file_name")
            text = row.get("prompt", row.get("text"))
            if not isinstance(file_name, str) or not isinstance(text, str):
                raise InvalidInput(f"{name}: line {line} has no file_name, or no prompt", hint="both must be texts")
            yield file_name, text


def _read_jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    for line, content in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if content.strip():
            try:
                row = json.loads(content)
            except ValueError as error:
                raise InvalidInput(f"{path.name}: line {line} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InvalidInput(f"{path.name}: line {line} is no object")
            yield line, row


def _read_csv(path: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row

"""Recorded outputs as drift sees them, read from JSON lines or CSV; what can't be read is told, the rest is used."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import InvalidInput, NotFound

SCORE, PARAMETER = "score.", "parameter."
NOT_JSON = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One served output: when, by which version, for which class of prompts, with its scores in [0, 1].

    ``parameters`` are what it was made with: numbers (steps) or words (sampler). ``embedding`` is of the output or the
    prompt, in whatever space; all of a window must share it.
    """

    at_s: float
    version: str = ""
    prompt_class: str = "all"
    prompt: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one file: records in the order of time, and a sentence for each line that is left out."""

    records: tuple[Record, ...]
    problems: tuple[str, ...]


def read_records(path: Path, *, version: str | None = None) -> Reading:
    """Read ``.jsonl`` or ``.csv``; of one version when it is named.

    JSON lines have ``at_s`` and any of ``version``, ``lane``, ``prompt``, ``scores``, ``parameters``, ``embedding``.
    CSV has a column each, with ``score.NAME`` and ``parameter.NAME``. A score that is NaN or null is no score.

    Raises:
        NotFound: when there is no such file.
        InvalidInput: when it is neither kind, or nothing in it can be read.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}", hint="give a .jsonl or .csv file of scored outputs")
    if path.suffix not in {".jsonl", ".csv"}:
        raise InvalidInput(f"{path.name}: neither .jsonl nor .csv", hint="write one JSON object a line")
    found, problems = [], []
    for number, row in _rows(path):
        try:
            record = _record(row)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            problems.append(f"{path.name}, line {number}: left out, {_plain(error)}")
            continue
        if version is None or record.version == version:
            found.append(record)
    if not found:
        first = problems[0] if problems else f"{path.name} is empty" + (f" of {version}" if version else "")
        raise InvalidInput(f"{path.name}: no record can be used", hint=first)
    return Reading(tuple(sorted(found, key=lambda record: record.at_s)), tuple(problems))


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        yield from _csv_rows(file) if path.suffix == ".csv" else _json_rows(file)


def _json_rows(file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            yield number, row if isinstance(row, dict) else {NOT_JSON: True}


def _csv_rows(file: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, flat in enumerate(csv.DictReader(file), start=2):
        row: dict[str, Any] = {"scores": {}, "parameters": {}}
        for name, text in flat.items():
            if name is None or text is None or text == "":
                continue
            if name.startswith(SCORE):
                row["scores"][name.removeprefix(SCORE)] = text
            elif name.startswith(PARAMETER):
                row["parameters"][name.removeprefix(PARAMETER)] = _number_or_word(text)
            else:
                row[name] = text
        yield number, row


def _record(row: Mapping[str, Any]) -> Record:
    if NOT_JSON in row:
        raise ValueError("it is no JSON object")
    at_s = float(row["at_s"])
    if not math.isfinite(at_s):
        raise ValueError("at_s is not a time")
    scores = {name: _score(name, value) for name, value in dict(row.get("scores") or {}).items()}
    parameters = {
        name: value if isinstance(value, str) else float(value)
        for name, value in dict(row.get("parameters") or {}).items()
    }
    embedding = row.get("embedding")
    return Record(
        at_s=at_s,
        version=str(row.get("version", "")),
        prompt_class=str(row.get("lane") or row.get("class") or "all"),
        prompt=None if row.get("prompt") is None else str(row["prompt"]),
        scores=scores,
        parameters=parameters,
        embedding=None if embedding is None else tuple(float(value) for value in embedding),
    )


def _score(name: str, value: object) -> float:
    number = math.nan if value is None else float(value)  # type: ignore[arg-type]
    if not (math.isnan(number) or 0.0 <= number <= 1.0):
        raise ValueError(f"score {name} is {number:g}, not between 0 and 1")
    return number


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _plain(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)

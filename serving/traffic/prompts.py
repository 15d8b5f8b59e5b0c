"""Prompt sets for traffic: a text file with a prompt per line, JSON lines, or CSV."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from contracts.errors import InvalidInput, NotFound

COLUMN = "prompt"
LARGEST_BYTES = 256 << 20
HINT = 'one prompt per line (.txt), {"prompt": …} per line (.jsonl), or a column named prompt (.csv)'


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, in its order; empty lines are left out.

    Raises:
        NotFound: when there is no such file.
        InvalidInput: naming the line that can't be read, or when there are no prompts.
    """
    if not path.is_file():
        raise NotFound(f"prompts: there is no file {path}", hint=HINT)
    if path.stat().st_size > LARGEST_BYTES:
        raise InvalidInput(f"prompts: {path} is larger than {LARGEST_BYTES} bytes", hint="take a part of it")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"prompts: {path} can't be read as text: {error}", hint=HINT) from None
    readers = {".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".csv": _read_csv}
    prompts = readers.get(path.suffix.casefold(), _read_lines)(text, path)
    if not prompts:
        raise InvalidInput(f"prompts: {path} holds none", hint=HINT)
    return prompts


def _read_lines(text: str, path: Path) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read_json_lines(text: str, path: Path) -> list[str]:
    prompts = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                prompts.append(_prompt_of(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                raise InvalidInput(f"prompts: {path}, line {number} is no prompt: {line[:80]}", hint=HINT) from None
    return prompts


def _prompt_of(document: Any) -> str:
    prompt = document if isinstance(document, str) else document[COLUMN]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError
    return prompt


def _read_csv(text: str, path: Path) -> list[str]:
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if COLUMN not in (rows.fieldnames or ()):
            raise InvalidInput(f"prompts: {path} has no column {COLUMN!r}", hint=HINT)
        return [row[COLUMN] for row in rows if row[COLUMN] and row[COLUMN].strip()]
    except csv.Error as error:
        raise InvalidInput(f"prompts: {path} is no CSV: {error}", hint=HINT) from None

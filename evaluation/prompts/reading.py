"""Prompt sets from files: CSV, JSON lines and YAML, every mistake told with its line."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import IntegrityError, InvalidInput
from contracts.ids import Name
from evaluation.prompts.prompt_set import FORMAT, Prompt, PromptSet, make_prompt
from evaluation.prompts.strata import find_mentions

MOST_TOLD = 20
Mistake = tuple[int, str]
Side = Annotated[int, Field(ge=8, le=8192, multiple_of=8)] | None


class Row(BaseModel):
    """One prompt as people write it; only the text must be there."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[str, Field(validation_alias=AliasChoices("prompt", "text"), min_length=1, max_length=20_000)]
    id: Annotated[str, Field(max_length=100)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    lane: Name = "default"
    language: Annotated[str, Field(max_length=35)] = ""
    mentions: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    height: Side = None
    width: Side = None


class Head(BaseModel):
    """What a file says of the set as a whole."""

    model_config = ConfigDict(extra="forbid")

    prompt_set: Name
    version: Annotated[int, Field(ge=1)] = 1
    format: int = FORMAT
    digest: str = ""
    scorers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at one line of a file: an object, or the reason why it can't be read."""

    line: int
    value: Any = None
    mistake: str = ""


def read_prompt_set(
    path: Path, *, name: str = "", version: int | None = None, mentions: Sequence[str] = ()
) -> PromptSet:
    """Read a prompt set from a ``.csv``, ``.jsonl``, ``.yaml`` or ``.yml`` file; plain text has one prompt a line.

    ``mentions`` are words that become strata where a prompt holds them. A file in canonical form is compared with the
    digest in its head.

    Raises:
        InvalidInput: with every mistake and its line.
        IntegrityError: when a canonical file was changed by hand.
    """
    read = READERS.get(path.suffix.lower())
    if read is None:
        known = ", ".join(READERS)
        raise InvalidInput(f"{path.name}: a prompt set does not end in {path.suffix!r}", hint=f"known: {known}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"{path}: {reason}", hint="name a file of prompts in UTF-8") from None
    return parse_prompt_set(list(read(text)), path.name, name=name, version=version, mentions=mentions)


def parse_prompt_set(
    found: Sequence[Found], subject: str, *, name: str = "", version: int | None = None, mentions: Sequence[str] = ()
) -> PromptSet:
    """Return the set that a file's objects make; see ``read_prompt_set``."""
    mistakes = [(at.line, at.mistake) for at in found if at.mistake]
    head, rest = _take_head(found, mistakes)
    prompts: list[Prompt] = []
    occurrences: Counter[str] = Counter()
    lines: dict[str, int] = {}
    for at in rest:
        if at.mistake:
            continue
        prompt = _make(at, mentions, occurrences, mistakes)
        if prompt is None:
            continue
        if prompt.id in lines:
            mistakes.append((at.line, f"id: {prompt.id!r} stands at line {lines[prompt.id]} already"))
        lines.setdefault(prompt.id, at.line)
        prompts.append(prompt)
    if mistakes:
        _refuse(subject, mistakes)
    made = PromptSet(
        name or (head.prompt_set if head else Path(subject).stem),
        version or (head.version if head else 1),
        tuple(prompts),
        head.scorers if head else (),
    )
    if head and head.digest and head.digest != made.digest and not mentions:
        raise IntegrityError(
            f"{subject}: its prompts are not those of its digest {head.digest[:19]}…",
            hint="take the digest out of the first line to make a new set of it, with a higher version",
        )
    return made


def _take_head(found: Sequence[Found], mistakes: list[Mistake]) -> tuple[Head | None, Sequence[Found]]:
    first = found[0] if found else None
    if first is None or not isinstance(first.value, dict) or "prompt_set" not in first.value:
        return None, found
    try:
        return Head.model_validate(first.value), found[1:]
    except ValidationError as error:
        mistakes += _tell(first.line, error)
        return None, found[1:]


def _make(at: Found, mentions: Sequence[str], occurrences: Counter[str], mistakes: list[Mistake]) -> Prompt | None:
    value = {"prompt": at.value} if isinstance(at.value, str) else at.value
    if not isinstance(value, dict):
        mistakes.append((at.line, f"a prompt is a text or an object, not {type(value).__name__}"))
        return None
    try:
        row = Row.model_validate(value)
        made = make_prompt(
            row.prompt,
            prompt_id=row.id,
            seed=row.seed,
            lane=row.lane,
            language=row.language,
            mentions=(*row.mentions, *find_mentions(row.prompt, mentions)),
            occurrence=occurrences[row.prompt],
            height=row.height,
            width=row.width,
        )
    except ValidationError as error:
        mistakes += _tell(at.line, error)
        return None
    except InvalidInput as error:
        mistakes.append((at.line, error.message))
        return None
    occurrences[row.prompt] += not row.id
    return made


def _tell(line: int, error: ValidationError) -> list[Mistake]:
    return [(line, f"{'.'.join(map(str, e['loc'])) or 'prompt'}: {e['msg']}") for e in error.errors(include_url=False)]


def _refuse(subject: str, mistakes: Sequence[Mistake]) -> None:
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    told = [f"line {line}: {mistake}" for line, mistake in sorted(mistakes)]
    more = [f"… and {len(told) - MOST_TOLD} more"] if len(told) > MOST_TOLD else []
    lines = "\n".join(f"  {mistake}" for mistake in [*told[:MOST_TOLD], *more])
    raise InvalidInput(
        f"{subject} has {count}:\n{lines}",
        hint="a prompt has a text, and may have id, seed, lane, language, mentions, height, width",
    )


def _read_csv(text: str) -> Iterator[Found]:
    """Rows below a line of column names; ``mentions`` are separated by semicolons, an empty cell says nothing."""
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        columns = [column.strip() for column in next(reader, [])]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(columns):
                yield Found(reader.line_num, mistake=f"{len(cells)} cells under {len(columns)} columns")
                continue
            row: dict[str, Any] = {column: cell for column, cell in zip(columns, cells, strict=True) if cell.strip()}
            if "mentions" in row:
                row["mentions"] = [word.strip() for word in row["mentions"].split(";") if word.strip()]
            yield Found(reader.line_num, row)
    except csv.Error as error:
        yield Found(reader.line_num, mistake=str(error))


def _read_jsonl(text: str) -> Iterator[Found]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield Found(line, json.loads(content))
            except ValueError as error:
                yield Found(line, mistake=f"not JSON: {error}")


def _read_text(text: str) -> Iterator[Found]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield Found(line, content.strip())


def _read_yaml(text: str) -> Iterator[Found]:
    """Read a list of prompts, or an object with ``prompts`` and maybe ``prompt_set``, ``version``, ``scorers``."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        yield Found(line, mistake=f"not YAML: {error.problem}")
        return
    except yaml.YAMLError as error:
        yield Found(1, mistake=f"not YAML: {error}")
        return
    if isinstance(root, yaml.MappingNode):
        parts = {key.value: node for key, node in root.value if isinstance(key, yaml.ScalarNode)}
        head = {key: value for key, value in document.items() if key != "prompts"}
        if head:
            yield Found(1, {"prompt_set": "prompts", **head} if "prompt_set" not in head else head)
        root, document = parts.get("prompts"), document.get("prompts")
    if root is None:
        return
    if not isinstance(root, yaml.SequenceNode):
        yield Found(root.start_mark.line + 1, mistake="prompts: a list is wanted")
        return
    for node, value in zip(root.value, document, strict=True):
        yield Found(node.start_mark.line + 1, value)


READERS: dict[str, Callable[[str], Iterator[Found]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".txt": _read_text,
}

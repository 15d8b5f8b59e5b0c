"""What jobs are told: documents that are checked before a job is queued, and the parts that several kinds share."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from contracts.errors import InvalidInput
from contracts.ids import VersionRef
from contracts.model import Frozen
from contracts.units import parse_fraction


class Arguments(Frozen):
    """A job's arguments; without fields of its own, a kind takes none."""


def _check_reference(text: str) -> str:
    try:
        return str(VersionRef.parse(text))
    except InvalidInput as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


def _check_share(text: str) -> str:
    try:
        parse_fraction(text)
    except InvalidInput as error:
        raise ValueError(f"{error.message}; {error.hint}") from None
    return text


Reference = Annotated[str, AfterValidator(_check_reference)]
"""A version, ``MODEL@NUMBER`` or ``MODEL@ALIAS``; an alias is looked up when the job runs."""

Share = Annotated[str, AfterValidator(_check_share)]
"""A fraction as people write it: ``5%``."""

Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:\d{1,2})?)$")]

Scorer = Annotated[str, Field(min_length=1, max_length=500)]
"""``KIND`` or ``KIND:OPTION=VALUE``."""

Scorers = Annotated[tuple[Scorer, ...], Field(max_length=20)]

PromptFile = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""A prompt set by the name of its file in the home's folder of prompts: who asks is perhaps far away."""

TimeBudget = Annotated[float, Field(gt=0, le=86_400)]


def find_prompts(folder: Path, name: str) -> Path:
    """Return the file of a prompt set.

    Raises:
        InvalidInput: when it is not there, naming those that are.
    """
    if not (folder / name).is_file():
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        raise InvalidInput(
            f"prompts: there is no {name} in {folder}",
            hint=f"put it there; there {'are ' + ', '.join(there) if there else 'is none'}",
        )
    return folder / name

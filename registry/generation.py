"""How a pipeline wants to be asked, written beside it: ``generation.json`` in its folder, covered by its digest."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from contracts.errors import InvalidInput
from contracts.wire.worker import FaultDrill, GenerationDefaults

GENERATION_FILE: Final = "generation.json"
LARGEST_BYTES: Final = 64 * 1024


class _Document(GenerationDefaults):
    faults: FaultDrill = FaultDrill()


@dataclass(frozen=True, slots=True)
class Generation:
    """What a folder says of itself: how it draws when a request doesn't say, and the faults of one made for drills."""

    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    faults: FaultDrill = field(default_factory=FaultDrill)


def read_generation(directory: Path) -> Generation | None:
    """Return what a folder's ``generation.json`` says, None where there is none.

    Raises:
        InvalidInput: naming the key that is unknown or wrong.
    """
    file = directory / GENERATION_FILE
    if not file.is_file():
        return None
    if file.is_symlink() or file.stat().st_size > LARGEST_BYTES:
        raise InvalidInput(f"{GENERATION_FILE}: is a link, or larger than 64 KiB", hint="write a few keys into it")
    try:
        document = _Document.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([GENERATION_FILE, *map(str, first["loc"])])
        known = ", ".join(GenerationDefaults.model_fields)
        raise InvalidInput(f"{where}: {first['msg']}", hint=f"its keys are {known}") from None
    defaults = GenerationDefaults.model_validate(document.model_dump(exclude={"faults"}))
    return Generation(defaults, document.faults)

"""The YAML files in which a home's settings are written by hand."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from contracts.errors import InvalidInput, SpecError
from contracts.specs.loading import describe_problems, parse_yaml
from contracts.units import WRITTEN_BY_HAND

Model = TypeVar("Model", bound=BaseModel)


def read_settings(file: Path, kind: type[Model]) -> Model | None:
    """Return the settings in a file, None where there is no such file.

    Raises:
        InvalidInput: when it can't be read; `SpecError` with every mistake in it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}", hint="let this user read it") from None
    document = parse_yaml(text, file.name)
    try:
        return kind.model_validate(document, context={WRITTEN_BY_HAND: True})
    except ValidationError as error:
        raise SpecError(file.name, describe_problems(error, kind, document)) from None

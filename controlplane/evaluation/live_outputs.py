"""Sampled outputs from a file: what a gateway handed out for scoring, one JSON document a line."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from contracts.errors import InvalidInput
from contracts.wire.telemetry import SampledOutput


def read_live_outputs(path: Path) -> Iterator[SampledOutput]:
    """Yield the outputs of a file, one at a time.

    Raises:
        InvalidInput: when the file can't be read or a line is no sampled output.
    """
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                if line.strip():
                    yield SampledOutput.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(
            f"{path.name}: line {number}: {where}: {first['msg']}", hint="as GET samples hand them out"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} can't be read: {error}", hint="name a file of JSON lines") from None

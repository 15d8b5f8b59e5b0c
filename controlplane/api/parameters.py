"""What addresses and queries of the API name, each written the same wherever it stands."""

from typing import Annotated

from fastapi import Path, Query

from contracts.ids import NAME_PATTERN
from controlplane.api.documents import ID_PATTERN, NUMBER_PATTERN, VERSION_PATTERN

RECORD_PATTERN = r"^[0-9a-f]{12}$"
WHY_PATTERN = r"^[^\x00]*\S[^\x00]*$"

ServiceName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=100)]
ModelName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=100)]
VersionNumber = Annotated[str, Path(pattern=NUMBER_PATTERN, description="Its number, or an alias such as `champion`.")]
RolloutId = Annotated[str, Path(pattern=ID_PATTERN, max_length=200)]
RecordId = Annotated[str, Path(pattern=RECORD_PATTERN)]
"""A kill, a freeze, a silence, a wish or a token."""
SomeVersion = Annotated[str, Query(pattern=VERSION_PATTERN, max_length=200)]
Why = Annotated[str, Query(min_length=1, max_length=2000, pattern=WHY_PATTERN)]
"""The reason of what has no body."""
DryRun = Annotated[bool, Query(description="Only tell what it would do.")]

"""Secrets: named in a file that may be shown, kept in the environment or in a file of their own."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from contracts.errors import InvalidInput
from contracts.model import Frozen


class Secret(Frozen):
    """Where a secret is kept: in the variable ``env``, or in ``file`` (relative to the home folder); never in a spec.

    Only what reads it ever holds it: it is in no log, no error and no table.
    """

    env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "Secret":
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret is named by either env or file; write one of them")
        return self

    def read(self, home: Path) -> str:
        """Return the secret.

        Raises:
            InvalidInput: when it isn't there, naming where it was looked for.
        """
        if self.env is not None:
            found, where = os.environ.get(self.env, ""), f"the variable {self.env}"
        else:
            path = home / str(self.file)
            where = f"the file {path}"
            try:
                found = path.read_text().strip()
            except (OSError, UnicodeDecodeError):
                found = ""
        if not found:
            raise InvalidInput(f"there is no secret in {where}", hint="put it there; it is read when it is needed")
        return found

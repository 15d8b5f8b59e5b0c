"""The first token: made at the first start, shown once, and kept for the commands on this machine."""

import os

from controlplane.settings import Settings
from controlplane.store.tokens import Role, Tokens

HOLDER = "local"


def ensure_first_token(settings: Settings, tokens: Tokens) -> str | None:
    """Make an admin token for commands on this machine where there is none; return it when it was made just now.

    It lies in the home for its owner alone. One that was revoked stays as it is.
    """
    file = settings.cli_token
    if file.exists():
        return None
    reason = "the first token, for commands on this machine"
    _, text = tokens.create(HOLDER, Role.ADMIN, actor="roost up", reason=reason)
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text + "\n")
    return text

"""Who registered a version: written down with it, so that four eyes know whose work it is."""

import getpass
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from contracts.errors import InvalidInput, Unauthenticated
from contracts.ids import VersionId
from controlplane.settings import Settings
from controlplane.store.tokens import is_reserved
from controlplane.stores import Stores, open_stores

ACTION = "version.register"
NAMES = "names"
"""The key of an audit record's detail under which all names of whoever registered stand."""


@dataclass(frozen=True)
class RegistrationDesk:
    """Writes registrations made on this machine into the audit; ``names`` are those of whoever registers."""

    stores: Stores
    names: tuple[str, ...]

    def write(self, version: VersionId, digest: str, *, reason: str) -> None:
        """Write down that a version was registered, or adopted."""
        with self.stores.database.write() as connection:
            self.stores.audit.write(
                connection,
                actor=self.names[0],
                action=ACTION,
                subject=f"version/{version}",
                reason=reason,
                detail={"digest": digest, NAMES: list(self.names)},
            )


@contextmanager
def open_registrations(settings: Settings, actor: str = "") -> Iterator[RegistrationDesk]:
    """Open the desk for somebody at this machine, before anything is registered: what can't be audited isn't done.

    They are known by the name that they give, else that of the machine's user, and by that of the token which their
    commands come with: either may be the one under which they would approve.

    Raises:
        InvalidInput: when the name is one of the control plane's own.
        Unavailable: when the control plane's database doesn't answer.
    """
    name = actor or getpass.getuser()
    if is_reserved(name):
        raise InvalidInput(f"actor: {name!r} is a name of the control plane's own", hint="name a person")
    with closing(open_stores(settings)) as stores:
        yield RegistrationDesk(stores, tuple(dict.fromkeys((name, *_holder(settings, stores)))))


def find_registrars(stores: Stores, *subjects: str) -> set[str]:
    """Return everybody whom the audit names as having had a part in registering or starting, by all their names."""
    names: set[str] = set()
    for subject in subjects:
        for change in stores.audit.changes(subject):
            names |= set(change.detail.get(NAMES, ()))
            if change.action == ACTION:
                names.add(change.actor)
    return names


def _holder(settings: Settings, stores: Stores) -> list[str]:
    text = os.environ.get("ROOST_TOKEN", "")
    if not text and settings.cli_token.is_file():
        text = settings.cli_token.read_text(encoding="utf-8").strip()
    # A token of another control plane says nothing here.
    with suppress(Unauthenticated):
        return [stores.tokens.check(text).holder]
    return []

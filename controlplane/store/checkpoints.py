"""Signed checkpoints of the chains, kept outside the database: they tell when a chain was cut or written anew.

A chain in the database proves that nobody changed its middle. Who may write the whole database can still cut its end or
make all digests again; a head that was signed and put elsewhere before shows that.
"""

import os
from pathlib import Path

from contracts.errors import IntegrityError
from controlplane.store.chain import Chain, Head
from controlplane.store.database import Database
from registry.provenance.dsse import make_statement, open_statement, sign_statement
from registry.provenance.keys import generate_key, load_private_key, load_public_key

PREDICATE = "urn:roost:ledger-checkpoint:v1"


class Checkpoints:
    """A file of signed heads, one a line, and the EC key that signs them, which is made when it isn't there."""

    def __init__(self, file: Path, key: Path) -> None:
        self._file, self._key = file, key

    def sign(self, database: Database, chains: list[Chain]) -> list[Head]:
        """Sign where chains end, and append that to the file; an empty chain has nothing to sign."""
        with database.read() as connection:
            heads = [head for head in (chain.head(connection) for chain in chains) if head.length]
            at_s = database.now_s(connection)
        if not self._key.exists():
            generate_key(self._key)
        key = load_private_key(self._key)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            for head in heads:
                told = {"length": head.length, "at_s": at_s}
                file.write(sign_statement(make_statement([(head.chain, head.digest)], PREDICATE, told), key) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return heads

    def heads(self) -> list[Head]:
        """Return the heads that were signed; none where there is no file.

        Raises:
            IntegrityError: at a line that this key did not sign.
        """
        if not self._file.is_file():
            return []
        key = load_public_key(self._key.with_name(self._key.name + ".pub"))
        found = []
        for number, line in enumerate(self._file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                statement, _ = open_statement(line, [key])
                (subject,) = statement["subject"]
                head = Head(subject["name"], statement["predicate"]["length"], subject["digest"]["sha256"])
            except (IntegrityError, ValueError, KeyError, TypeError):
                raise IntegrityError(
                    f"checkpoint {number} of {self._file.name} was not signed by this key",
                    hint="was the file changed, or the key replaced?",
                ) from None
            found.append(head)
        return found

"""A PostgreSQL server of the tests' own: a fresh cluster in a folder, on a Unix socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from controlplane.store.migrate import open_store

# Nothing of a test outlives it, so nothing need reach the disk.
FAST = "-c fsync=off -c full_page_writes=off -c max_connections=100 -c shared_buffers=32MB"


@dataclass
class PostgresServer:
    """A running server."""

    binaries: Path
    folder: Path
    user: str | None
    numbers: Iterator[int]

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"t{next(self.numbers)}"
        self._sql(f"CREATE DATABASE {name}")
        return self._address(name)

    def new_store(self) -> str:
        """Make a database with this release's schema, and no rows, and return its address."""
        name = f"t{next(self.numbers)}"
        self._sql(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        return self._address(name)

    @cached_property
    def _template(self) -> str:
        self._sql("CREATE DATABASE prepared")
        open_store(self._address("prepared")).close()
        return "prepared"

    def _address(self, name: str) -> str:
        return f"postgresql://roost@/{name}?host={self.folder}"

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        self._control("start", "-l", str(self.folder / "log"), "-o", f"-k {self.folder} -c listen_addresses= {FAST}")

    def restart(self) -> None:
        self.stop()
        self.start()

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", *words)

    def _sql(self, statement: str) -> None:
        self._run("psql", "-h", str(self.folder), "-U", "roost", "-d", "postgres", "-qc", statement)

    def _run(self, program: str, *words: str) -> None:
        command = [str(self.binaries / program), *words]
        # Output goes to a file: a server that inherits a pipe would keep it open for ever.
        with (self.folder / "out").open("a+") as out:
            done = subprocess.run(command, stdout=out, stderr=out, user=self.user, cwd=self.folder, check=False)
            out.seek(0)
            assert done.returncode == 0, out.read()


def find_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL server here, None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def find_user() -> str | None:
    """Return who runs the server: ourselves, or, as root may not, the user of Debian's package or nobody."""
    if os.getuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@contextmanager
def postgres_server(binaries: Path) -> Iterator[PostgresServer]:
    """Run a server for the block."""
    user = find_user()
    in_memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="roost-pg-", dir=in_memory if in_memory.is_dir() else None))
    server = PostgresServer(binaries, folder, user, count(1))
    try:
        (folder / "out").touch()
        if user is not None:
            shutil.chown(folder, user)
        server._run("initdb", "-D", str(folder / "data"), "-U", "roost", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: object, timeout_s: float = 60.0) -> None:
    """Wait until ``condition()`` holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, "it never came to hold"
        time.sleep(0.02)

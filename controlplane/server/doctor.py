"""The doctor: looks at all that a control plane needs on this machine, and says what to do about what is amiss."""

import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import httpx
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import RoostError
from contracts.units import format_bytes
from controlplane.api.access import load_access
from controlplane.keeping import load_keep
from controlplane.notify.settings import load_notify
from controlplane.server.detached import find_serving
from controlplane.server.presence import read_presence
from controlplane.settings import Settings
from controlplane.store.audit import Audit
from controlplane.store.checkpoints import Checkpoints
from controlplane.store.database import SQLITE, Database
from controlplane.store.migrate import schema_version
from controlplane.store.schema import HEAD
from controlplane.store.sql_ledger import SqlLedger
from controlplane.telemetry_sources.settings import load_telemetry

LEAST_BYTES, FEW_BYTES = 200 << 20, 2 << 30
MOST_SKEW_S = 2.0
PATIENCE_S = 2.0
DEFAULT_PORT = 8600
TOOLS = {
    "tesseract": ("reads text in pictures (scorers ocr-*)", "Debian: apt-get install tesseract-ocr"),
    "chromium": ("prints reports to PDF", "Debian: apt-get install chromium"),
    "promtool": ("checks exported Prometheus rules", "Debian: apt-get install prometheus"),
}


class State(StrEnum):
    """Well; lacking, which only takes something optional away; or failed."""

    WELL = "well"
    LACKING = "lacking"
    FAILED = "failed"


GLYPHS = {State.WELL: "✔", State.LACKING: "–", State.FAILED: "✖"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part, and what to do about it."""

    part: str
    state: State
    detail: str
    remedy: str = ""

    @property
    def failed(self) -> bool:
        """Tell whether something needed is amiss."""
        return self.state is State.FAILED

    @property
    def line(self) -> str:
        """The finding for a person."""
        told = f"{GLYPHS[self.state]} {self.part:<13} {self.detail}"
        return told if not self.remedy or self.state is State.WELL else f"{told}\n    → {self.remedy}"

    def to_document(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {**asdict(self), "state": self.state.value}


Check = Callable[[Settings], Iterator[Finding]]


def examine(home: Path) -> Iterator[Finding]:
    """Yield what is found, one part after another; nothing is changed, and nothing that goes wrong ends it."""
    settings = Settings(home)
    checks: tuple[tuple[str, Check], ...] = (
        ("python", _look_at_python),
        ("home", _look_at_home),
        ("settings", _look_at_settings),
        ("control plane", _look_at_server),
        ("database", _look_at_database),
        ("ledger", _look_at_ledger),
        ("mlflow", _look_at_mlflow),
        ("gateway", _look_at_serving),
        ("tools", _look_at_tools),
    )
    for part, check in checks:
        try:
            yield from check(settings)
        except (RoostError, SQLAlchemyError, OSError, ValueError) as error:
            told = error.message if isinstance(error, RoostError) else f"{type(error).__name__}: {error}"
            remedy = error.hint if isinstance(error, RoostError) else ""
            yield Finding(part, State.FAILED, " ".join(told.split()), remedy)


def _look_at_python(settings: Settings) -> Iterator[Finding]:
    version, known = platform.python_version(), (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("python", State.WELL if known else State.FAILED, version, "use Python 3.11, 3.12 or 3.13")


def _look_at_home(settings: Settings) -> Iterator[Finding]:
    home = settings.home.resolve()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    usage = shutil.disk_usage(there)
    state = State.FAILED if usage.free < LEAST_BYTES else State.LACKING if usage.free < FEW_BYTES else State.WELL
    yield Finding(
        "disk", state, f"{format_bytes(usage.free)} free at {there}", "make room: a full disk stops decisions"
    )
    if not home.exists():
        yield Finding("home", State.WELL, f"{home} is not there yet; roost up makes it")
        return
    for key in (settings.token_key, settings.cli_token, settings.checkpoint_key):
        if key.exists() and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding("keys", State.FAILED, f"{key} can be read by others than its owner", f"chmod 600 {key}")
            return
    yield Finding("home", State.WELL, str(home))


def _look_at_settings(settings: Settings) -> Iterator[Finding]:
    """Read the home's YAML files as a start would."""
    load_access(settings.home)
    load_notify(settings.home / "notify.yaml")
    load_telemetry(settings.home / "telemetry.yaml")
    load_keep(settings.home)
    files = ("access.yaml", "notify.yaml", "telemetry.yaml", "keep.yaml")
    names = [name for name in files if (settings.home / name).exists()]
    yield Finding("settings", State.WELL, ", ".join(names) or "the defaults")


def _look_at_server(settings: Settings) -> Iterator[Finding]:
    server = read_presence(settings.server_file)
    if not server:
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0
        told = f"none runs on {settings.home}; port {DEFAULT_PORT} is {'taken by another program' if taken else 'free'}"
        remedy = f"roost up --home {settings.home}" + (" --port 0" if taken else "")
        yield Finding("control plane", State.LACKING, told, remedy)
        return
    answer = _ask(f"{server['url']}/api/v1/health")
    leads = "leads" if answer and answer.get("leads") else "does not lead"
    state = State.WELL if answer else State.FAILED
    told = f"{server['url']} {leads}" if answer else f"{server['url']} (process {server['pid']}) does not answer"
    yield Finding("control plane", state, told, f"read {settings.logs / 'server.log'}; roost down, then roost up")


def _look_at_database(settings: Settings) -> Iterator[Finding]:
    shown = make_url(settings.database_url).render_as_string(hide_password=True)
    if not _has_database(settings):
        yield Finding("database", State.WELL, f"{shown} is not there yet; roost up makes it")
        return
    with closing(Database(settings.database_url)) as database, database.read() as connection:
        begun_s = time.time()
        skew_s = database.now_s(connection) - (begun_s + time.time()) / 2
        version = schema_version(connection) or "none"
    state, remedy = State.WELL, f"roost up brings it to schema {HEAD}"
    if version != HEAD:
        is_later = version > HEAD and version != "none"
        state = State.FAILED if is_later else State.LACKING
        remedy = "a later release wrote it: run that one" if is_later else remedy
    yield Finding("database", state, f"{shown}, schema {version}", remedy)
    clock = State.WELL if abs(skew_s) < MOST_SKEW_S else State.FAILED
    remedy = "set both machines' clocks by NTP: budgets and windows are counted by them"
    yield Finding("clock", clock, f"{skew_s:+.2f} s against the database", remedy)


def _look_at_ledger(settings: Settings) -> Iterator[Finding]:
    """Recompute both chains, and hold them against the checkpoints that were signed."""
    if not _has_database(settings):
        return
    with closing(Database(settings.database_url)) as database:
        with database.read() as connection:
            if schema_version(connection) != HEAD:
                return
        known = Checkpoints(settings.checkpoints, settings.checkpoint_key).heads()
        decisions = SqlLedger(database, code_version="").verify(known)
        changes = Audit(database).verify(known)
    told = f"{decisions} decisions, {changes} audit records, {len(known)} signed checkpoints agree"
    yield Finding("ledger", State.WELL, told)


def _has_database(settings: Settings) -> bool:
    url = make_url(settings.database_url)
    return url.get_backend_name() != SQLITE or Path(url.database or "").is_file()


def _look_at_mlflow(settings: Settings) -> Iterator[Finding]:
    url = make_url(settings.mlflow_uri)
    if url.get_backend_name() == SQLITE and not Path(url.database or "").is_file():
        yield Finding("mlflow", State.WELL, "no store yet; registering a model makes it")
        return
    with closing(Database(settings.mlflow_uri)) as database, database.read() as connection:
        count = connection.execute(text("SELECT count(*) FROM model_versions")).scalar_one()
    yield Finding("mlflow", State.WELL, f"{count} versions in {url.render_as_string(hide_password=True)}")


def _look_at_serving(settings: Settings) -> Iterator[Finding]:
    is_up, alive = bool(read_presence(settings.server_file)), find_serving(settings)
    alive = [report for report in alive if report.is_alive]
    if not alive:
        state = State.FAILED if is_up else State.WELL
        yield Finding("gateway", state, "does not run", f"read {settings.logs / 'gateway.log'}")
        return
    for report in alive:
        name = str(getattr(report.spec, "version", "")) if hasattr(report, "spec") else ""
        part, log = ("worker", f"{name}.log") if name else ("gateway", "gateway.log")
        answer = _ask(f"http://127.0.0.1:{report.port}/health")
        told = f"{name} at port {report.port}".strip()
        state = State.WELL if answer is not None else State.FAILED
        yield Finding(part, state, told if answer else f"{told} does not answer", f"read {settings.logs / log}")
    if not is_up:
        told = f"{len(alive)} processes serve without a control plane, and end within 15 minutes"
        yield Finding("serving", State.LACKING, told, "roost up takes them over, roost down ends them")


def _look_at_tools(settings: Settings) -> Iterator[Finding]:
    for tool, (use, remedy) in TOOLS.items():
        found = shutil.which(tool)
        state = State.WELL if found else State.LACKING
        yield Finding(tool, state, found or f"not installed; {use}", remedy)


def _ask(url: str) -> dict[str, object] | None:
    """Return a part's own word on its health, None when it gives none."""
    try:
        told = httpx.get(url, timeout=PATIENCE_S, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        return None
    return dict(told) if isinstance(told, dict) else None

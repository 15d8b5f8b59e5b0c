"""``roost job``: long work, asked for, watched and ended."""

import getpass
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import InvalidInput
from controlplane.cli.output import print_json, print_table

if TYPE_CHECKING:
    from controlplane.jobs.job import Job
    from controlplane.jobs.store import Jobs

app = typer.Typer(help="Ask for long work, watch it and end it.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
Id = Annotated[str, typer.Argument(help="The job's id.")]
Actor = Annotated[str, typer.Option(help="Who asks; by default the user of this machine.", envvar="ROOST_ACTOR")]
HOME = Path(".roost")


@app.command("list")
def list_(
    state: Annotated[
        list[str] | None, typer.Option(help="Only these: waiting, running, done, failed, cancelled.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    at_most: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 50,
    *,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    from controlplane.jobs.job import JobState

    try:
        states = [JobState(text) for text in state or ()]
    except ValueError as error:
        raise InvalidInput(f"state: {error}", hint=f"write one of {', '.join(JobState)}") from None
    with _jobs(home) as jobs:
        found = jobs.list(states=states, kind=kind, at_most=at_most)
    if as_json:
        print_json([asdict(job) for job in found])
        return
    rows = [[job.id, job.kind, job.state, f"{job.progress:.0%}", _when(job.created_s), job.message] for job in found]
    print_table(["JOB", "KIND", "STATE", "PROGRESS", "ASKED", ""], rows)


@app.command()
def show(job_id: Id, home: Home = HOME, *, as_json: AsJson = False) -> None:
    """Show all that is known of one job."""
    with _jobs(home) as jobs:
        _print_job(jobs.get(job_id), as_json=as_json)


@app.command()
def cancel(
    job_id: Id,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    actor: Actor = "",
    *,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """End a job: at once while it waits, at its worker's next heartbeat while it runs."""
    with _jobs(home) as jobs:
        job = jobs.cancel(job_id, actor=actor or getpass.getuser(), reason=reason)
    if as_json:
        _print_job(job, as_json=True)
    elif job.is_over:
        typer.echo(f"{job.id}: {job.state}")
    else:
        typer.echo(f"{job.id}: its worker ends it at its next heartbeat")


@app.command()
def run(
    kind: Annotated[str, typer.Argument(help="The kind of job.")],
    argument: Annotated[
        list[str] | None, typer.Option("--argument", help="An argument of the job: week=2026-W46; JSON or text.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; it stays with the job.")] = "",
    actor: Actor = "",
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the work to a running `roost job work`.")] = False,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Ask for a job and work on it here until it is over or has to wait; exit status 1 if it fails."""
    from controlplane.jobs.job import JobState
    from controlplane.jobs.worker import Worker

    with _jobs(home) as jobs:
        arguments = dict(_read_argument(text) for text in argument or ())
        job = jobs.submit(kind, arguments, actor=actor or getpass.getuser(), reason=reason, priority=1)
        if not detach:
            worker = Worker(jobs, home.resolve())
            queue = jobs.kinds.get(kind).queue
            while (worked := worker.work_one([queue])) is not None and worked.id != job.id:
                pass  # what was asked for before comes first
        job = jobs.get(job.id)
    _print_job(job, as_json=as_json)
    if job.error is not None or job.state is JobState.CANCELLED:
        raise typer.Exit(1)


@app.command()
def work(home: Home = HOME) -> None:
    """Work on jobs, ask for what schedules say and call hooks, until interrupted; start several for several at once."""
    from controlplane.hooks import keep_delivering
    from controlplane.job_kinds import declare_schedules
    from controlplane.jobs.schedules import Schedules
    from controlplane.jobs.worker import Worker
    from controlplane.server.crew import Crew
    from controlplane.settings import Settings

    crew = Crew()
    with _jobs(home) as jobs, ExitStack() as stack:
        stack.callback(crew.dismiss)
        schedules = Schedules(jobs)
        declare_schedules(schedules)
        crew.start("hooks", partial(keep_delivering, Settings(home)))
        typer.echo(
            f"works on jobs of {jobs.database.url.render_as_string(hide_password=True)}; Ctrl-C ends it", err=True
        )
        Worker(jobs, home.resolve()).run(schedules)


@contextmanager
def _jobs(home: Path) -> "Iterator[Jobs]":
    from controlplane.job_kinds import KINDS
    from controlplane.jobs.store import Jobs
    from controlplane.settings import Settings
    from controlplane.store.migrate import open_store

    database = open_store(Settings(home).database_url)
    try:
        yield Jobs(database, KINDS)
    finally:
        database.close()


def _read_argument(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise InvalidInput(f"argument: {text!r} is not NAME=VALUE", hint="write --argument week=2026-W46")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _print_job(job: "Job", *, as_json: bool) -> None:
    row = asdict(job)
    if as_json:
        print_json(row)
        return
    for name, value in row.items():
        if value is None or value in ("", {}):
            continue
        text = _when(value) if name.endswith("_s") else value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{name:<13} {text}")


def _when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")

"""``roost service``: what is served, by which version, under which objectives."""

from typing import Annotated, Any

import typer

from controlplane.cli import safety
from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import DryRun, Reason, Session, complete, remote
from controlplane.cli.spec import read_file

app = typer.Typer(help="Apply services, and see what serves them.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The service.", autocompletion=complete("/services", "name"))]
File = Annotated[str, typer.Argument(help="A service spec in YAML; - reads standard input.")]
safety.add_commands(app)
COLUMNS = ("SERVICE", "MODEL", "REVISION", "CHAMPION", "SINCE", "ROLLOUT", "NOTE")


@app.command()
@remote
def apply(
    session: Session,
    file: File,
    *,
    champion: Annotated[str, typer.Option(help="The version that serves first: MODEL@NUMBER.")] = "",
    expected: Annotated[int | None, typer.Option(min=0, help="Only onto this revision; 0 for a new service.")] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Make a spec the newest revision of its service; the same spec again changes nothing. Status 6 if it is wrong."""
    name, text = _load(file)
    body: dict[str, Any] = {"spec": text, "champion": champion or None, "expected": expected}
    path = f"/services/{name}"
    if dry_run:
        _print_preview(session, session.api.change("PUT", path, {**body, "reason": reason or "dry run"}, dry_run=True))
        return
    applied = session.api.change("PUT", path, {**body, "reason": session.reason(reason)})
    if session.as_json:
        print_json(applied)
        return
    serving = f", {applied['champion']} serves" if applied.get("champion") else ""
    typer.echo(f"✔ {name} revision {applied['revision']}{serving}")
    if applied.get("note"):
        session.note(f"  {applied['note']}")


@app.command()
@remote
def diff(session: Session, file: File) -> None:
    """Show what applying a spec would change, value by value; exit status 1 when it changes anything."""
    name, text = _load(file)
    body = {"spec": text, "reason": "dry run"}
    preview = session.api.change("PUT", f"/services/{name}", body, dry_run=True)
    _print_preview(session, preview)
    if preview["changes"]:
        raise typer.Exit(1)


@app.command("list")
@remote
def list_(session: Session) -> None:
    """List services."""
    found = list(session.api.items("/services", at_most=10_000))
    if session.as_json:
        print_json(found)
        return
    rows = [_row(service) for service in found]
    print_rows(COLUMNS, rows, shrinks="NOTE", empty="no services yet; roost service apply FILE makes one")


@app.command()
@remote
def show(session: Session, name: Name) -> None:
    """Show a service: its champion, its rollout, what holds it back, and its spec without what is the default."""
    service = session.api.get(f"/services/{name}")
    if session.as_json:
        print_json(service)
        return
    import yaml

    from contracts.specs.service import ServiceSpec

    for key in ("name", "model", "revision", "champion", "previous", "rollout", "actor", "reason", "note"):
        if service.get(key):
            typer.echo(f"{key:<9} {service[key]}")
    for line in safety.in_force(session, name):
        typer.echo(line)
    typer.echo()
    written = ServiceSpec.model_validate(service["spec"]).model_dump(mode="json", exclude_defaults=True)
    typer.echo(yaml.safe_dump(written, sort_keys=False, allow_unicode=True).rstrip())


def _load(file: str) -> tuple[str, str]:
    """Return a spec's service and its text, read and checked here, so that mistakes are told with the file's name."""
    from contracts.specs.loading import load_service_spec

    text = read_file(file)
    return load_service_spec(text, subject=file).service, text


def _row(service: dict[str, Any]) -> list[str]:
    from controlplane.cli.rollout_tell import NOTHING, tell_moment

    return [
        service["name"],
        service["model"],
        str(service["revision"]),
        service["champion"] or NOTHING,
        tell_moment(service["champion_since_s"]),
        service["rollout"] or NOTHING,
        service["note"],
    ]


def _print_preview(session: Session, preview: dict[str, Any]) -> None:
    if session.as_json:
        print_json(preview)
        return
    rows = [[change["path"], _value(change["before"]), _value(change["after"])] for change in preview["changes"]]
    print_rows(("PATH", "BEFORE", "AFTER"), rows, shrinks="BEFORE", empty=f"{preview['service']}: nothing changes")
    if preview["changes"]:
        session.note(f"revision {preview['before']} → {preview['after']}; nothing was applied")
    if preview["note"]:
        session.note(preview["note"])


def _value(value: object) -> str:
    import json

    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

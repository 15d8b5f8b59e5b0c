"""``roost slo``: objectives, what is left of their budgets, silences, and rules for Prometheus made from them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.client import Api
from controlplane.cli.output import print_json, print_rows
from controlplane.cli.session import (
    HomeOption,
    Reason,
    ServerOption,
    Session,
    TokenOption,
    complete,
    parse_timeout_s,
    remote,
)
from controlplane.cli.spec import read_file, validate

if TYPE_CHECKING:
    from contracts.specs.service import ServiceSpec

app = typer.Typer(help="See objectives and their budgets, and export them.", no_args_is_help=True)
Service = Annotated[str, typer.Argument(help="The service.", autocompletion=complete("/services", "name"))]
HOME, FOLDER = Path(".roost"), Path("roost-slos")
COLUMNS = ("SERVICE", "SLO", "OBJECTIVE", "SLI", "BUDGET LEFT", "BURN", "GONE IN")

app.command("validate")(validate)


@app.command("list")
@remote
def list_(session: Session) -> None:
    """List all objectives, the one with the least budget left first."""
    found = list(session.api.items("/slos", at_most=10_000))
    _print(session, found)


@app.command()
@remote
def show(session: Session, service: Service) -> None:
    """Show one service's objectives."""
    _print(session, list(session.api.items(f"/slos/{service}", at_most=10_000)))


@app.command()
@remote
def silence(
    session: Session,
    service: Service,
    objective: Annotated[str, typer.Argument(help="The objective, or a monitor.")],
    *,
    last: Annotated[str, typer.Option("--for", help="For how long: 2h.")] = "1h",
    reason: Reason = "",
) -> None:
    """Let nobody be told how an objective burns, or of a monitor's alarms, for a while; all else stays the same."""
    until_s = time.time() + (parse_timeout_s(last) or 0.0)
    body = {"objective": objective, "until_s": until_s, "reason": session.reason(reason)}
    made = session.api.change("POST", f"/services/{service}/silences", body)
    session.done(
        made,
        f"nobody is told of {objective} of {service} for {last}: silence {made['id']}",
        f"end it with: roost slo unsilence {made['id']}",
    )


@app.command()
@remote
def unsilence(
    session: Session,
    silence_id: Annotated[str, typer.Argument(metavar="SILENCE", help="Its id.")],
    *,
    reason: Reason = "",
) -> None:
    """End a silence before its time."""
    lifted = session.api.change("DELETE", f"/silences/{silence_id}", None, reason=session.reason(reason))
    session.done(lifted, f"people are told again of {lifted['objective']} of {lifted['service']}")


@app.command()
def export(
    file: Annotated[
        list[str] | None, typer.Argument(help="Service specs in YAML; all applied services otherwise.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = FOLDER,
    home: HomeOption = HOME,
    server: ServerOption = "",
    token: TokenOption = "",
) -> None:
    """Write recording and alerting rules for Prometheus, and dashboards for Grafana."""
    from contracts.specs.loading import load_service_spec
    from controlplane.slo_export.files import export_slos

    specs = [load_service_spec(read_file(name), subject=name) for name in file or ()] or _applied(home, server, token)
    files = export_slos(specs)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in sorted(files.items()):
        (out / name).write_text(text, encoding="utf-8")
        typer.echo(str(out / name))


def _applied(home: Path, server: str, token: str) -> "list[ServiceSpec]":
    from contracts.specs.service import ServiceSpec

    api = Api.find(home, server, token)
    try:
        return [ServiceSpec.model_validate(item["spec"]) for item in api.items("/services", at_most=10_000)]
    finally:
        api.close()


def _print(session: Session, found: list[dict[str, Any]]) -> None:
    found.sort(key=lambda slo: (slo["budget_left"] is None, slo["budget_left"] or 0.0))
    if session.as_json:
        print_json(found)
        return
    empty = "no objectives yet; roost service apply FILE brings a service's"
    print_rows(COLUMNS, [_row(slo) for slo in found], shrinks="SLO", empty=empty)


def _row(slo: dict[str, Any]) -> list[str]:
    from contracts.notation import format_duration, format_fraction
    from controlplane.cli.rollout_tell import NOTHING

    rates = {burn["window_s"]: burn["rate"] for burn in slo["burns"] if burn["rate"] is not None}
    burns = " / ".join(f"{format_duration(window_s)} {rate:.2g}×" for window_s, rate in sorted(rates.items()))
    return [
        slo["service"],
        slo["name"],
        format_fraction(slo["objective"], 4),
        NOTHING if slo["sli"] is None else format_fraction(slo["sli"], 4),
        NOTHING if slo["budget_left"] is None else format_fraction(slo["budget_left"]),
        burns or NOTHING,
        NOTHING if slo["gone_in_s"] is None else f"✖ {format_duration(round(slo['gone_in_s']))}",
    ]

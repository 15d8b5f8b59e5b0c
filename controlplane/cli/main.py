"""``roost``: the command tree, and how errors reach a person."""

import os
import sys
from typing import Annotated

import typer

from contracts.errors import RoostError
from controlplane.cli import (
    config,
    decision,
    demo,
    drift,
    explain,
    fleet,
    job,
    model,
    optimize,
    profile,
    register,
    report,
    review,
    rollout,
    service,
    slo,
    spec,
    token,
    traffic,
    tune,
    ui,
    up,
)
from controlplane.cli import eval as eval_

app = typer.Typer(
    name="roost",
    help="Promote model versions with guaranteed error rates, or roll them back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(demo.app, name="demo")
register.add_commands(model.app)
optimize.add_commands(model.app)
profile.add_commands(model.app)
tune.add_commands(model.app)
app.add_typer(model.app, name="model")
app.add_typer(eval_.app, name="eval")
app.add_typer(rollout.app, name="rollout")
app.add_typer(spec.app, name="spec")
app.add_typer(decision.app, name="decision")
app.add_typer(job.app, name="job")
app.command("traffic")(traffic.traffic)
app.add_typer(drift.app, name="drift")
app.add_typer(review.app, name="review")
app.add_typer(report.app, name="report")
app.add_typer(service.app, name="service")
app.add_typer(slo.app, name="slo")
app.add_typer(fleet.app, name="fleet")
app.add_typer(token.app, name="token")
app.add_typer(config.app, name="config")
app.command()(ui.ui)
up.add_commands(app)
app.command()(explain.explain)
app.command("help")(explain.help_)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"roost {version('roost')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Promote model versions with guaranteed error rates, or roll them back."""


def main() -> None:
    """Run the command line; an error becomes its message, its hint and its exit status."""
    # Read when torch is loaded: threads of ours that wait must not spin on the cores of our workers.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RoostError as error:
        print(f"error: {error.message}  [{error.code}]", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()

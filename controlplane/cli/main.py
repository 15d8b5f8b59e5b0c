"""``roost``: the command tree, and how errors reach a person."""

import sys
from typing import Annotated

import typer

from contracts.errors import RoostError
from controlplane.cli import decision, demo, model, rollout, spec

app = typer.Typer(
    name="roost",
    help="Promote model versions with guaranteed error rates, or roll them back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(demo.app, name="demo")
app.add_typer(model.app, name="model")
app.add_typer(rollout.app, name="rollout")
app.add_typer(spec.app, name="spec")
app.add_typer(decision.app, name="decision")


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
    try:
        app()
    except RoostError as error:
        print(f"error: {error.message}  [{error.code}]", file=sys.stderr)  # noqa: T201
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()

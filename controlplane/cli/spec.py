"""``roost spec``: check specs before anything runs on them."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidInput

app = typer.Typer(help="Check specs and print their JSON Schemas.", no_args_is_help=True)


@app.command()
def validate(file: Annotated[str, typer.Argument(help="A service spec in YAML; - reads standard input.")]) -> None:
    """Check a service spec; every mistake is told at once. Exit status 6 when it has any."""
    from contracts.specs.loading import load_service_spec

    spec = load_service_spec(read_file(file), subject=file)
    gates = ", ".join(spec.objectives())
    typer.echo(f"{file}: service {spec.service} of model {spec.model} is valid; objectives: {gates}")


@app.command()
def schema(document: Annotated[str, typer.Argument(help="Which document.")] = "service") -> None:
    """Print the JSON Schema of a document (service, rollout, routing-table, ...)."""
    from contracts.schema import export_schema

    typer.echo(json.dumps(export_schema(document), indent=2))


@app.command()
def diff(
    before: Annotated[str, typer.Argument(help="A service spec in YAML.")],
    after: Annotated[str, typer.Argument(help="Another; - reads standard input.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> None:
    """Show what differs between two specs, value by value, defaults filled in; exit status 1 when anything does."""
    from contracts.specs.loading import load_service_spec
    from controlplane.cli.output import print_json, print_rows
    from controlplane.desks.diff import compare_documents

    one, other = (load_service_spec(read_file(file), subject=file).model_dump(mode="json") for file in (before, after))
    changes = compare_documents(one, other)
    if as_json:
        print_json([{"path": change.path, "before": change.before, "after": change.after} for change in changes])
    else:
        rows = [[change.path, json.dumps(change.before), json.dumps(change.after)] for change in changes]
        print_rows(("PATH", "BEFORE", "AFTER"), rows, shrinks="BEFORE", empty="nothing differs")
    if changes:
        raise typer.Exit(1)


def read_file(file: str) -> str:
    """Return a spec's text, from a file or from standard input.

    Raises:
        InvalidInput: when there is no such file, or it is no text.
    """
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{file}: there is no such file", hint="give the path of a YAML file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{file} is a folder", hint="give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not text", hint="save it as UTF-8") from None

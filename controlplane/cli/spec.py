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

    spec = load_service_spec(_read(file), subject=file)
    gates = ", ".join(spec.objectives())
    typer.echo(f"{file}: service {spec.service} of model {spec.model} is valid; objectives: {gates}")


@app.command()
def schema(document: Annotated[str, typer.Argument(help="Which document.")] = "service") -> None:
    """Print the JSON Schema of a document (service, rollout, routing-table, ...)."""
    from contracts.schema import export_schema

    typer.echo(json.dumps(export_schema(document), indent=2))


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"{file}: there is no such file", hint="give the path of a YAML file") from None
    except IsADirectoryError:
        raise InvalidInput(f"{file} is a folder", hint="give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{file} is not text", hint="save it as UTF-8") from None

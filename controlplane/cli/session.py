"""What all commands that talk to a control plane share: which one, who asks, how it prints, and what it asks back."""

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import InvalidInput
from controlplane.cli.client import Api
from controlplane.cli.output import print_json

COMPLETION_TIMEOUT_S = 1.0
HomeOption = Annotated[Path, typer.Option("--home", help="The folder of the control plane.", envvar="ROOST_HOME")]
ServerOption = Annotated[
    str,
    typer.Option("--server", help="The control plane's address; the one of the home otherwise.", envvar="ROOST_SERVER"),
]
TokenOption = Annotated[
    str,
    typer.Option("--token", help="Who asks; the home's own token otherwise.", envvar="ROOST_TOKEN", show_envvar=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print data alone, no notes.")]
PlainOption = Annotated[bool, typer.Option("--no-color", help="Print without colours.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it is recorded.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking back.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what it would do, and change nothing.")]


@dataclass(frozen=True)
class Session:
    """One command's talk with a control plane."""

    api: Api
    home: Path
    as_json: bool
    quiet: bool

    def note(self, text: str) -> None:
        """Tell a person something beside the data."""
        if not self.quiet:
            typer.echo(text, err=True)

    def done(self, answer: dict[str, Any], sentence: str, then: str = "") -> None:
        """Tell that a change was made: what was answered as JSON, or a sentence, and beside it what may come next."""
        if self.as_json:
            print_json(answer)
            return
        typer.echo(f"✔ {sentence}")
        if then:
            self.note(f"  {then}")

    def confirm(self, effect: str, *, yes: bool) -> None:
        """Tell what is about to happen and go on when a person agrees.

        Raises:
            InvalidInput: when nobody can be asked, and ``--yes`` wasn't said.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise InvalidInput(f"{effect}: nobody can be asked here", hint="say --yes")
        typer.confirm(f"{effect}. Continue?", abort=True, err=True)

    def reason(self, reason: str) -> str:
        """Return why a change is asked for; a person who said nothing is asked.

        Raises:
            InvalidInput: when nobody can be asked.
        """
        if reason.strip():
            return reason
        if not sys.stdin.isatty():
            raise InvalidInput("reason: is empty", hint="say why with --reason; it is recorded")
        return str(typer.prompt("Why? It is recorded", err=True))


def remote(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first argument is its `Session`, the options that all of them share."""
    shared = {
        "home": (HomeOption, Path(".roost")),
        "server": (ServerOption, ""),
        "token": (TokenOption, ""),
        "as_json": (JsonOption, False),
        "quiet": (QuietOption, False),
        "no_color": (PlainOption, False),
    }

    @wraps(command)
    def run(*arguments: Any, home: Path, server: str, token: str, **options: Any) -> None:
        as_json, quiet = options.pop("as_json"), options.pop("quiet")
        if options.pop("no_color"):
            os.environ["NO_COLOR"] = "1"
        api = Api.find(home, server, token)
        try:
            command(Session(api, home, as_json, quiet), *arguments, **options)
        finally:
            api.close()

    signature = inspect.signature(command, eval_str=True)
    own = list(signature.parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)} | {"return": None}
    return run


def complete(path: str, key: str) -> Callable[[str], list[str]]:
    """Return a completion of ids out of a list of the API; a control plane that is slow or away completes nothing."""

    def find(incomplete: str) -> list[str]:
        where = (os.environ.get(name, "") for name in ("ROOST_SERVER", "ROOST_TOKEN"))
        try:
            api = Api.find(Path(os.environ.get("ROOST_HOME", ".roost")), *where, timeout_s=COMPLETION_TIMEOUT_S)
            found = [str(item[key]) for item in api.items(path, at_most=200)]
            api.close()
        except Exception:  # noqa: BLE001 - a completion that fails must not write into the command line
            return []
        return [text for text in found if text.startswith(incomplete)]

    return find


def parse_timeout_s(text: str) -> float | None:
    """Return how long to wait at most; None, for ever, when nothing was said."""
    if not text:
        return None
    from contracts.notation import parse_duration_s

    return parse_duration_s(text)

"""``roost drift``: have scores, prompts or parameters shifted, on recorded windows, with a stated false-alarm rate."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidInput, Unavailable
from controlplane.cli.exit_status import ExitStatus

app = typer.Typer(help="Look for drift in recorded outputs.", no_args_is_help=True)
Alpha = Annotated[float, typer.Option(help="Probability of any false alarm within the horizon.")]


Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]
SecretFile = Annotated[
    Path | None, typer.Option(help="File with the secret that signs calls; ROOST_HOOK_SECRET otherwise.")
]


class Season(StrEnum):
    """Whether live values are compared with reference values of the same hour of the week."""

    NONE = "none"
    WEEK = "week"


@app.callback()
def root() -> None:
    """Look for drift in recorded outputs."""


@app.command()
def check(
    window: Annotated[Path, typer.Argument(help="The window to judge: scored outputs in .jsonl or .csv.")],
    reference: Annotated[Path | None, typer.Option(help="What was normal, in the same form.")] = None,
    control: Annotated[
        Path | None, typer.Option(help="What another version did in the same hours; comes first.")
    ] = None,
    *,
    season: Annotated[Season, typer.Option(help="Compare with the reference's same hour of the week.")] = Season.NONE,
    version: Annotated[str | None, typer.Option(help="Judge this version's outputs only.")] = None,
    alpha: Alpha = 0.01,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Values that share alpha, all streams together; a month's, as a rule.")
    ] = None,
    hook: Annotated[
        str | None, typer.Option(help="Address to call with the evidence when something has drifted.")
    ] = None,
    hook_secret_file: SecretFile = None,
    home: Home = Path(".roost"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> None:
    """Say of each metric and prompt class: drifted, steady, or not enough data.

    Exit status 10 when one has drifted, 7 when none could be judged.
    """
    from controlplane.drift_check import Question, ask, print_answer

    if (reference is None) == (control is None):
        raise InvalidInput("reference: give either --reference or --control", hint="see the page on drift")
    if control is not None and season is Season.WEEK:
        raise InvalidInput("season: a control served in the same hours already", hint="leave --season out")
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha: {alpha:g} is not between 0 and 1", hint="write for example 0.01")
    against = "control" if control is not None else "season" if season is Season.WEEK else "frozen"
    normal = reference or control
    if normal is None:
        raise InvalidInput("reference: none was given")
    answer = ask(Question(window, normal, against, version, alpha, horizon))
    print_answer(answer, as_json=as_json)
    if hook is not None and answer.has_drifted:
        _call(home, hook_secret_file, hook, answer.to_document())
    if answer.has_drifted:
        raise typer.Exit(ExitStatus.ROLLED_BACK)
    if not answer.is_known:
        raise typer.Exit(ExitStatus.NO_EVIDENCE)


@app.command()
def deliver(home: Home = Path(".roost"), hook_secret_file: SecretFile = None) -> None:
    """Try the calls again that no receiver has taken yet. Exit status 5 when some are left."""
    _call(home, hook_secret_file)


def _call(
    home: Path, secret_file: Path | None, hook: str | None = None, document: dict[str, object] | None = None
) -> None:
    """Write a call down when there is one, and try all that are due."""
    from contracts.clock import SystemClock
    from controlplane.hooks import Hooks, read_secret
    from controlplane.settings import Settings

    hooks = Hooks(Settings(home).hooks_uri, SystemClock(), read_secret(secret_file))
    try:
        if hook is not None and document is not None:
            hooks.put(hook, {"kind": "drift", **document})
        problems = hooks.deliver()
        waiting = hooks.waiting()
    finally:
        hooks.close()
    for problem in problems:
        typer.echo(problem, err=True)
    if waiting and hook is None:
        raise Unavailable(f"{waiting} calls are waiting", hint="try again later: roost drift deliver")

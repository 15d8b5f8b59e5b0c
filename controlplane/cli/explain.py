"""``roost explain`` and ``roost help``: what codes and exit statuses mean, and what to do."""

from typing import Annotated

import typer

from contracts.errors import NotFound
from controlplane.cli.exit_status import MEANINGS
from controlplane.cli.output import print_table

TOPICS = {"exit-codes": "what a command's exit status says"}


def explain(
    code: Annotated[str, typer.Argument(help="A code, a phase or an action: gate.harm-proven, paused, conflict.")],
) -> None:
    """Tell what a code means, and what to do about it."""
    from rollout.meanings import explain as meaning_of

    typer.echo(meaning_of(code))


def help_(topic: Annotated[str, typer.Argument(help="exit-codes.")] = "") -> None:
    """Explain a topic: exit-codes."""
    if not topic:
        print_table(("TOPIC", ""), list(TOPICS.items()))
    elif topic == "exit-codes":
        print_table(("STATUS", "MEANING"), [[str(int(status)), text] for status, text in MEANINGS.items()])
    else:
        raise NotFound(f"there is no help on {topic!r}", hint=f"topics: {', '.join(TOPICS)}")

"""``roost eval prompts``: make and inspect prompt sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.errors import InvalidInput
from controlplane.cli.output import print_json, print_table

if TYPE_CHECKING:
    from evaluation.prompts.prompt_set import PromptSet

app = typer.Typer(help="Make and inspect prompt sets.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="Where to write the prompt set, .jsonl.")]
Name = Annotated[str, typer.Option(help="The set's name; the file's by default.")]
Mentions = Annotated[list[str] | None, typer.Option("--mention", help="A word whose prompts are a stratum.")]
SetVersion = Annotated[int | None, typer.Option("--set-version", min=1, help="The set's version.")]


@app.command()
def build(
    source: Annotated[Path, typer.Argument(help="Prompts: .csv, .jsonl, .yaml or .txt.")],
    *,
    out: Out,
    name: Name = "",
    version: SetVersion = None,
    mention: Mentions = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Take out e-mail addresses, telephone numbers and the like.")
    ] = False,
) -> None:
    """Check a file of prompts and write it in canonical form, every prompt with its seed."""
    from evaluation.prompts.reading import read_prompt_set
    from evaluation.prompts.redaction import redact_set

    made = read_prompt_set(source, name=name, version=version, mentions=mention or ())
    if not redact:
        _write_set(made, out)
        return
    clean, removed = redact_set(made)
    _write_set(clean, out)
    typer.echo(f"taken out: {_counts(removed)}")


@app.command()
def sample(
    source: Annotated[Path, typer.Argument(help="Sampled outputs, one JSON document a line.")],
    *,
    out: Out,
    n: Annotated[int, typer.Option(min=1, help="Prompts to choose.")] = 256,
    name: Name = "",
    version: SetVersion = None,
    mention: Mentions = None,
) -> None:
    """Choose prompts from live traffic, in proportion to lanes and lengths; personal data are taken out."""
    from controlplane.evaluation.live_outputs import read_live_outputs
    from evaluation.prompts.sampling import sample_live

    outputs = read_live_outputs(source)
    found = sample_live(outputs, n, name=name or out.stem, version=version or 1, mentions=mention or ())
    _write_set(found.prompts, out)
    typer.echo(f"chosen from {found.seen} different prompts; taken out: {_counts(found.removed)}")


@app.command()
def demo(
    out: Out,
    n: Annotated[int, typer.Option(min=1, max=4096, help="Prompts.")] = 400,
) -> None:
    """Write the demo model's prompt set, which names its scorers."""
    from controlplane.evaluation.demo_prompts import demo_prompt_set

    _write_set(demo_prompt_set(n), out)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="A prompt set.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")] = False,
) -> None:
    """Show a prompt set's digest and its strata."""
    from evaluation.prompts.reading import read_prompt_set

    made = read_prompt_set(file)
    if as_json:
        head = {"name": made.name, "version": made.version, "digest": made.digest, "prompts": len(made.prompts)}
        print_json(head | {"scorers": list(made.scorers), "strata": made.strata()})
        return
    typer.echo(f"{made.name}, version {made.version}: {len(made.prompts)} prompts, {made.digest}")
    if made.scorers:
        typer.echo(f"scorers: {', '.join(made.scorers)}")
    print_table(["STRATUM", "PROMPTS"], [[stratum, str(count)] for stratum, count in made.strata().items()])


def write_file(out: Path, text: str) -> None:
    """Write a file that a person asked for.

    Raises:
        InvalidInput: when it can't be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"out: {out} can't be written: {error.strerror}", hint="name a file that you may write"
        ) from None


def _write_set(made: "PromptSet", out: Path) -> None:
    if out.suffix != ".jsonl":
        raise InvalidInput(f"out: {out.name} does not end in .jsonl", hint="the canonical form is JSON lines")
    write_file(out, made.to_jsonl())
    typer.echo(f"{out}: {made.name}, version {made.version}, {len(made.prompts)} prompts, {made.digest}")


def _counts(removed: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(removed.items())) or "nothing"

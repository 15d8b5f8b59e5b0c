"""``roost model register`` and ``roost model card``: what becomes a version, and what is known of it for people."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from contracts.errors import InvalidInput, NotFound
from controlplane.cli.model import HOME, Actor, AsJson, Home, Model, Reference, open_catalogue, point, row_of, who_asks
from controlplane.cli.output import print_json

if TYPE_CHECKING:
    from contracts.wire.worker import GenerationDefaults
    from registry.catalogue import Registration, VersionRecord
    from registry.generation import Generation

Steps = Annotated[int | None, typer.Option(min=1, max=1000, help="Denoising steps when a request doesn't say.")]
Guidance = Annotated[float | None, typer.Option(min=0, max=100, help="Guidance scale when a request doesn't say.")]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels when a request doesn't say: 1024x1024.")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")]

PIPELINE_INDEX = "model_index.json"
"""What lies in the folder of every version that draws pictures."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands to ``roost model``."""
    app.command()(register)
    app.command()(card)


def register(
    model: Model,
    directory: Annotated[Path | None, typer.Argument(help="The folder with the model's files.")] = None,
    *,
    run: Annotated[str | None, typer.Option(help="Register an artefact of this MLflow run instead.")] = None,
    path: Annotated[str, typer.Option(help="The artefact's path in the run.")] = "",
    adopt: Annotated[int | None, typer.Option(help="Adopt this version that somebody registered in MLflow.")] = None,
    alias: Annotated[str | None, typer.Option(help="Point this alias at the new version.")] = None,
    parent: Annotated[str | None, typer.Option(help="The version it was made from.")] = None,
    description: Annotated[str, typer.Option(help="A sentence for people.")] = "",
    recipe: Annotated[str, typer.Option(help="What made it from its parent.")] = "",
    base_model: Annotated[str, typer.Option(help="What it was trained from.")] = "",
    data: Annotated[str, typer.Option(help="What it was trained on.")] = "",
    code_revision: Annotated[str, typer.Option(help="The revision of the training code.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence: Apache-2.0, openrail++, ...")] = "",
    limitations: Annotated[str, typer.Option(help="What it is not good for.")] = "",
    steps: Steps = None,
    guidance: Guidance = None,
    size: Size = None,
    dtype: Dtype = None,
    actor: Actor = "",
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Make a folder, a run's artefact or a version of MLflow's own a version here; inspected first.

    How it draws when a request doesn't say is read from ``generation.json`` in the folder; the options come first.
    """
    from contracts.ids import VersionId, VersionRef, parse_name
    from controlplane.desks.registrations import open_registrations
    from controlplane.settings import Settings
    from registry.catalogue import Lineage

    if sum(given is not None for given in (directory, run, adopt)) != 1:
        raise InvalidInput("directory: name one folder, or --run, or --adopt", hint="roost model register MODEL FOLDER")
    told = (parent, description, recipe, base_model, data, code_revision, licence, limitations)
    if adopt is not None and (any(told) or any(value is not None for value in (steps, guidance, size, dtype))):
        raise InvalidInput("adopt: what is adopted keeps MLflow's words", hint="leave out --parent and the like")
    catalogue = open_catalogue(home, create=True)
    with open_registrations(Settings(home), actor) as desk:
        if adopt is not None:
            record = catalogue.adopt(VersionId(parse_name(model, "model"), adopt), registered_by=desk.names)
        else:
            folder = directory or catalogue.run_directory(run or "", path)
            registration = replace(
                _read_folder(folder, steps=steps, guidance=guidance, size=size, dtype=dtype),
                description=description,
                parent=catalogue.get(VersionRef.parse(parent)).id if parent else None,
                lineage=Lineage(recipe, base_model, data, run or "", code_revision, licence, limitations),
                registered_by=desk.names,
            )
            record = catalogue.register(model, registration)
        desk.write(record.id, record.digest, reason=description or ("adopted" if adopt is not None else "registered"))
    if alias is not None:
        point(catalogue, record.id, alias, actor=who_asks(actor), reason="registered", expected=None)
        record = catalogue.get(VersionRef(model, number=record.id.number))
    if as_json:
        print_json(row_of(record))
    else:
        _tell(record, draws=PIPELINE_INDEX in catalogue.manifest(record.id).files)


def _read_folder(
    folder: Path, *, steps: int | None, guidance: float | None, size: str | None, dtype: str | None
) -> "Registration":
    """Return what a folder tells of itself, how it wants to be asked above all."""
    from registry.catalogue import Registration
    from registry.generation import read_generation

    generation = read_generation(folder)
    defaults = _choose_defaults(generation, steps=steps, guidance=guidance, size=size, dtype=dtype)
    known = Registration(folder, defaults=defaults)
    return known if generation is None else replace(known, faults=generation.faults)


def _tell(record: "VersionRecord", *, draws: bool) -> None:
    from contracts.units import format_bytes

    typer.echo(f"{record.id}  {format_bytes(record.size_bytes)}  {record.digest}")
    if draws:
        drawn = record.defaults
        typer.echo(
            f"draws {drawn.width}x{drawn.height} in {drawn.num_inference_steps} steps at guidance "
            f"{drawn.guidance_scale:g}, {drawn.torch_dtype}, when a request doesn't say",
            err=True,
        )


def card(reference: Reference, home: Home = HOME, *, as_json: AsJson = False) -> None:
    """Print a version's model card: origin, data, metrics, profile, limitations, licence; Markdown, or JSON."""
    from contracts.ids import VersionRef
    from registry.provenance.card import CardNotes, card_document, card_markdown

    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    profile = catalogue.profiles.read(record.id)
    try:
        report, _ = catalogue.optimisations.read(record.id)
    except NotFound:
        report = {}
    figures = report.get("quality") or {}
    notes = CardNotes(
        licence=record.lineage.licence,
        limitations=(record.lineage.limitations,) if record.lineage.limitations else (),
        metrics={name: value for name, value in figures.items() if isinstance(value, int | float)},
        profile=profile.metrics() if profile is not None else {},
    )
    if as_json:
        print_json(card_document(record, notes))
    else:
        typer.echo(card_markdown(record, notes), nl=False)


def _choose_defaults(
    generation: "Generation | None",
    *,
    steps: int | None,
    guidance: float | None,
    size: str | None,
    dtype: str | None,
) -> "GenerationDefaults":
    """Return what the folder says, with what the options say put over it."""
    from pydantic import ValidationError

    from contracts.wire.worker import GenerationDefaults

    said = generation.defaults if generation is not None else GenerationDefaults()
    over: dict[str, object] = {"num_inference_steps": steps, "guidance_scale": guidance, "torch_dtype": dtype}
    if size is not None:
        width, cross, height = size.partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            raise InvalidInput(f"size: {size!r} is not WIDTHxHEIGHT", hint="write --size 1024x768")
        over |= {"width": int(width), "height": int(height)}
    row = said.model_dump() | {name: value for name, value in over.items() if value is not None}
    try:
        return GenerationDefaults.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{where}: {first['msg']}", hint="roost model register --help") from None

"""``roost model``: the versions in the registry, their aliases and signatures."""

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from contracts.errors import InvalidInput, NotFound
from controlplane.cli.output import print_json, print_table

if TYPE_CHECKING:
    from contracts.ids import VersionId
    from registry.catalogue import VersionRecord
    from registry.mlflow_catalogue import MlflowCatalogue

app = typer.Typer(help="Register versions, move their aliases, sign and verify them.", no_args_is_help=True)
Home = Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
Actor = Annotated[str, typer.Option(help="Who does it; by default the user of this machine.", envvar="ROOST_ACTOR")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Reference = Annotated[str, typer.Argument(help="MODEL@NUMBER or MODEL@ALIAS.")]
Model = Annotated[str, typer.Argument(help="The registered model.")]
HOME = Path(".roost")


@app.command("list")
def list_(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    *,
    tag: Annotated[list[str] | None, typer.Option(help="Only versions with this tag: roost.state=champion.")] = None,
    page: Annotated[str | None, typer.Option(help="The page after this token.")] = None,
    size: Annotated[int, typer.Option(help="Versions per page, at most 1000.")] = 50,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """List versions, newest first; those that others registered in the same MLflow are told apart."""
    from contracts.ids import parse_name
    from contracts.units import format_bytes

    tags = dict(_read_tag(text) for text in tag or ())
    found = open_catalogue(home).search(model and parse_name(model, "model"), tags, page=page, size=size)
    rows = [row_of(record) for record in found.versions]
    foreign = [{"version": str(f.id), "aliases": list(f.aliases), "created": _when(f.created_s)} for f in found.foreign]
    if as_json:
        print_json({"versions": rows, "foreign": foreign, "next_page": found.next_page})
        return
    table = [
        [r["version"], r["state"], ",".join(r["aliases"]), format_bytes(r["size_bytes"]), r["created"]] for r in rows
    ]
    table += [[f["version"], "foreign", ",".join(f["aliases"]), "", f["created"]] for f in foreign]
    print_table(["VERSION", "STATE", "ALIASES", "SIZE", "REGISTERED"], table)
    if found.next_page:
        typer.echo(f"more: --page {found.next_page}", err=True)


@app.command()
def show(reference: Reference, home: Home = HOME, as_json: AsJson = False) -> None:
    """Show all that is known of one version."""
    from contracts.ids import VersionRef
    from contracts.units import format_bytes
    from registry.comparison import trace_line

    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    row = row_of(record) | {
        "defaults": record.defaults.model_dump(mode="json"),
        "lineage": asdict(record.lineage),
        "serving": {device: plan.model_dump(mode="json") for device, plan in record.serving.items()},
        "ancestors": [str(version) for version in trace_line(catalogue, record)[1:]],
        "signed_by": catalogue.signatures.signers(catalogue.manifest(record.id)),
        "waivers": [asdict(waiver) for waiver in catalogue.journal.waivers(record.digest)],
        "stray_aliases": catalogue.aliases.strays(record.id.model),
        "registered_by": list(record.registered_by),
    }
    if as_json:
        print_json(row)
        return
    for name, value in row.items():
        text = value if isinstance(value, str) else json.dumps(value)
        typer.echo(f"{name:<14} {format_bytes(record.size_bytes) if name == 'size_bytes' else text}")


@app.command()
def alias(
    reference: Reference,
    name: Annotated[str, typer.Argument(help="champion, challenger, champion-LANE, ...")],
    *,
    expect: Annotated[str | None, typer.Option(help="Only if it points at this version now.")] = None,
    reason: Reason = "",
    actor: Actor = "",
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version; ``previous`` follows a champion."""
    from contracts.ids import VersionRef

    catalogue = open_catalogue(home)
    version = catalogue.get(VersionRef.parse(reference)).id
    before = point(catalogue, version, name, actor=who_asks(actor), reason=reason, expected=expect)
    row = {"alias": name, "from": str(before) if before else None, "to": str(version)}
    if as_json:
        print_json(row)
    else:
        typer.echo(f"{name}: {row['from'] or 'nothing'} → {version}")


@app.command()
def undo(
    model: Model,
    *,
    name: Annotated[str, typer.Option("--alias", help="Which alias.")] = "champion",
    reason: Reason = "",
    actor: Actor = "",
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Point the champion back at the version before; again, and it goes back further."""
    before, after = open_catalogue(home).aliases.undo(model, name, actor=who_asks(actor), reason=reason or "undo")
    if as_json:
        print_json({"alias": name, "from": str(before), "to": str(after)})
    else:
        typer.echo(f"{name}: {before} → {after}")


@app.command()
def reconcile(
    model: Model,
    name: Annotated[str, typer.Argument(help="The alias that was moved outside Roost.")],
    *,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take it as it is in MLflow.")] = False,
    revert: Annotated[bool, typer.Option("--revert", help="Put it back.")] = False,
    reason: Reason = "",
    actor: Actor = "",
    home: Home = HOME,
) -> None:
    """Settle an alias that somebody moved in MLflow itself."""
    if adopt == revert:
        raise InvalidInput("adopt: choose one of --adopt and --revert", hint="--adopt keeps what stands in MLflow")
    choice: Literal["adopt", "revert"] = "adopt" if adopt else "revert"
    now = open_catalogue(home).aliases.reconcile(model, name, choice, actor=who_asks(actor), reason=reason or choice)
    typer.echo(f"{name} of {model}: {now or 'nothing'}")


@app.command()
def history(
    model: Model,
    name: Annotated[str | None, typer.Option("--alias", help="Only this alias.")] = None,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Tell who pointed which alias where, when and why, oldest first."""
    moves = open_catalogue(home).aliases.history(model, name)
    rows = [
        {
            "at": _when(move.at_s),
            "alias": move.alias,
            "kind": move.kind,
            "from": str(move.origin) if move.origin else None,
            "to": str(move.target) if move.target else None,
            "actor": move.actor,
            "reason": move.reason,
        }
        for move in moves
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ["AT", "ALIAS", "WHAT", "FROM", "TO", "WHO", "WHY"], [[value or "–" for value in row.values()] for row in rows]
    )


@app.command()
def verify(
    reference: Reference,
    key: Annotated[list[Path] | None, typer.Option(help="Require a signature by this public key.")] = None,
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Read every byte of a version again: against its manifest, the rules and, with --key, its signature."""
    from contracts.ids import VersionRef
    from registry.provenance.keys import load_public_key

    catalogue = open_catalogue(home)
    keys = [load_public_key(path) for path in key or ()]
    record = catalogue.get(VersionRef.parse(reference))
    catalogue.fetch(record.id)
    manifest = catalogue.manifest(record.id)
    signer = catalogue.signatures.require(manifest, keys) if keys else None
    if as_json:
        print_json({"version": str(record.id), "digest": record.digest, "files": len(manifest.files), "signer": signer})
        return
    signed = f", signed by {signer}" if signer else ", no signature was asked for"
    typer.echo(f"{record.id}: {len(manifest.files)} files as registered, {record.digest}{signed}")


@app.command()
def keygen(path: Annotated[Path, typer.Argument(help="Where to write the private key; .pub is added.")]) -> None:
    """Make a signing key (EC P-256): the private half for its owner only, the public half beside it."""
    from registry.provenance.keys import generate_key

    typer.echo(f"{path}: keep it secret\n{generate_key(path)}: give it to those who verify")


@app.command()
def sign(
    reference: Reference,
    key: Annotated[Path, typer.Option(help="The private key.")],
    home: Home = HOME,
    as_json: AsJson = False,
) -> None:
    """Sign a version as it was registered, after its bytes were read again."""
    from contracts.ids import VersionRef
    from registry.provenance.keys import key_id, load_private_key

    private = load_private_key(key)
    catalogue = open_catalogue(home)
    record = catalogue.get(VersionRef.parse(reference))
    catalogue.fetch(record.id)
    bundle = catalogue.signatures.sign(catalogue.manifest(record.id), str(record.id), private)
    row = {"version": str(record.id), "signer": key_id(private.public_key()), "bundle": str(bundle)}
    if as_json:
        print_json(row)
    else:
        typer.echo(f"{record.id} signed by {row['signer']}: {bundle}")


@app.command()
def waive(
    digest: Annotated[str, typer.Argument(help="The digest that the refusal named: sha256:…")],
    reason: Annotated[str, typer.Option(help="Why this content may be used; it stays for ever.")],
    actor: Actor = "",
    home: Home = HOME,
) -> None:
    """Let content with this digest pass although it holds code; broken files can't be waived."""
    from contracts.manifest import DIGEST

    if not DIGEST.fullmatch(digest):
        raise InvalidInput(f"digest: {digest!r} is none", hint="copy it from the refusal: sha256: and 64 hex digits")
    open_catalogue(home, create=True).journal.write_waiver(digest, actor=who_asks(actor), reason=reason)
    typer.echo(f"{digest} waived by {who_asks(actor)}")


def open_catalogue(home: Path, *, create: bool = False) -> "MlflowCatalogue":
    """Open a home's catalogue.

    Raises:
        NotFound: when there is none and none is to be made.
    """
    from controlplane.settings import Settings, make_home

    settings = Settings(home)
    if not create and not home.is_dir():
        raise NotFound(f"there is no registry at {home}", hint="name the folder with --home, or register something")
    from registry.mlflow_catalogue import MlflowCatalogue

    make_home(home)
    catalogue = MlflowCatalogue(settings.mlflow_uri, artifacts=settings.artifacts, manifests=settings.manifests)
    catalogue.settle()
    return catalogue


def point(
    catalogue: "MlflowCatalogue", version: "VersionId", name: str, *, actor: str, reason: str, expected: str | None
) -> "VersionId | None":
    """Point an alias at a version and return where it pointed; with ``expected`` only if it pointed there."""
    from contracts.ids import VersionRef
    from registry.aliases import Expectation, is_champion

    wanted = catalogue.get(VersionRef.parse(expected)).id if expected is not None else Expectation.ANYWHERE
    point = catalogue.aliases.crown if is_champion(name.lower()) else catalogue.aliases.move
    return point(version, name, actor=actor, reason=reason, expected=wanted)


def who_asks(actor: str) -> str:
    """Return who was named, else the user of this machine."""
    return actor or getpass.getuser()


def _read_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"tag: {text!r} has no value", hint="write KEY=VALUE: roost.state=champion")
    return key, value


def row_of(record: "VersionRecord") -> dict[str, Any]:
    """Return a version as a row with stable keys."""
    return {
        "version": str(record.id),
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "created": _when(record.created_s),
        "state": record.state.value,
        "aliases": list(record.aliases),
        "parent": str(record.parent) if record.parent else None,
        "description": record.description,
    }


def _when(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

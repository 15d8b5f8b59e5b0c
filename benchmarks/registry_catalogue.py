"""The catalogue with 10 000 versions beside MLflow's own client on the same store, side by side in one run.

Run from the repository root::

    python -m benchmarks.registry_catalogue                      # minutes, most of them to fill the store
    python -m benchmarks.registry_catalogue --versions 1000      # quicker

Each pair of calls is made in turn, ours and MLflow's. The table shows medians of wall time, and the lower quartile of
CPU time, which other processes on the machine disturb least: the limit of 20 ms is held against it. Writes
``catalogue.json`` to ``--out``.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.ids import VersionId, VersionRef
from registry.catalogue import Registration
from registry.mlflow_catalogue import MlflowCatalogue

if TYPE_CHECKING:
    from mlflow import MlflowClient

MODEL = "many"
LIMIT_S = 0.020
"""What a list call or a look-up may take with 10 000 versions."""

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Wall time (median) and CPU time (lower quartile) of one call, in seconds."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Row:
    """One kind of call, ours and that of MLflow's client; ``limited`` ones are held to 20 ms of CPU time."""

    name: str
    ours: Timing
    theirs: Timing
    calls: int
    limited: bool

    @property
    def is_within(self) -> bool:
        """Whether the call keeps the limit, or has none."""
        return not self.limited or self.ours.cpu_s <= LIMIT_S


def main() -> None:
    """Run the benchmark; exit status 1 when a limited call is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("build/bench-registry"))
    parser.add_argument("--home", type=Path, help="keep the filled store here, and use it again if it is there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = run(arguments.home or Path(scratch), arguments.versions, arguments.repeats)
    print_rows(rows, arguments.versions)
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"versions": arguments.versions, "rows": [asdict(row) for row in rows]}
    (arguments.out / "catalogue.json").write_text(json.dumps(document, indent=2) + "\n")
    over = [row.name for row in rows if not row.is_within]
    if over:
        raise SystemExit(f"over {LIMIT_S * 1000:.0f} ms: {', '.join(over)}")


def run(home: Path, versions: int, repeats: int) -> list[Row]:
    """Fill a store and measure each kind of call on it."""
    catalogue = MlflowCatalogue(
        f"sqlite:///{home.resolve()}/mlflow.db", artifacts=home / "artifacts", manifests=home / "manifests"
    )
    client = _client(home)
    model = _small_model(home / "model")
    fill(catalogue, client, model, versions)
    alias_of = {number: VersionId(MODEL, number) for number in (versions, versions // 2)}
    rng = random.Random(7)

    def flip() -> VersionId:
        return alias_of[rng.choice(list(alias_of))]

    def number() -> str:
        return str(rng.randrange(1, versions + 1))

    named = f"name = '{MODEL}'"
    newest = {"max_results": 50, "order_by": ["version_number DESC"]}
    tagged = f"{named} AND tag.`roost.state` = 'candidate'"
    pairs: list[tuple[str, Call, Call, bool]] = [
        ("by alias", lambda: catalogue.get(VersionRef(MODEL, alias="champion")),
         lambda: client.get_model_version_by_alias(MODEL, "champion"), True),
        ("by number", lambda: catalogue.get(VersionRef(MODEL, number=int(number()))),
         lambda: client.get_model_version(MODEL, number()), True),
        ("list, newest 50", lambda: catalogue.search(MODEL, size=50),
         lambda: client.search_model_versions(named, **newest), True),
        ("list by tag, 50", lambda: catalogue.search(MODEL, {"roost.state": "candidate"}, size=50),
         lambda: client.search_model_versions(tagged, **newest), True),
        ("move alias", lambda: catalogue.move_alias(flip(), "challenger", actor="bench", reason="bench"),
         lambda: client.set_registered_model_alias(MODEL, "theirs", number()), False),
        ("register", lambda: catalogue.register(MODEL, Registration(model)), lambda: _register(client, model), False),
        ("get_registered_model", lambda: catalogue.get(VersionRef(MODEL, alias="champion")),
         lambda: client.get_registered_model(MODEL), False),
    ]  # fmt: skip
    slow = {"register": max(5, repeats // 5), "get_registered_model": 3}
    return [
        measure(name, ours, theirs, limited, repeats=slow.get(name, repeats)) for name, ours, theirs, limited in pairs
    ]


def measure(name: str, ours: Call, theirs: Call, limited: bool, *, repeats: int) -> Row:  # noqa: FBT001
    """Make both calls in turn; the first of each is warm-up."""
    seen: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": []}
    for _ in range(repeats + 1):
        for who, call in (("ours", ours), ("theirs", theirs)):
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            call()
            seen[who].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
    return Row(name, _summarise(seen["ours"][1:]), _summarise(seen["theirs"][1:]), repeats, limited)


def _summarise(times: list[tuple[float, float]]) -> Timing:
    wall, cpu = zip(*times, strict=True)
    return Timing(statistics.median(wall), statistics.quantiles(cpu, n=4)[0])


def fill(catalogue: MlflowCatalogue, client: "MlflowClient", model: Path, versions: int) -> None:
    """Register one version through the catalogue, and the others as copies of its record: filling must not take hours.

    Every hundredth is tagged ``candidate``; the newest is champion.
    """
    try:
        have = int(
            client.search_model_versions(f"name = '{MODEL}'", max_results=1, order_by=["version_number DESC"])[
                0
            ].version
        )
    except IndexError:
        have = 0
    if have == 0:
        catalogue.register(MODEL, Registration(model))
        have = 1
    first = client.get_model_version(MODEL, "1")
    begun_s = time.perf_counter()
    for number in range(have + 1, versions + 1):
        state = "candidate" if number % 100 == 0 else "registered"
        client.create_model_version(
            MODEL, first.source, run_id=first.run_id, tags=dict(first.tags) | {"roost.state": state}
        )
        if number % 1000 == 0:
            print(f"{number} versions, {time.perf_counter() - begun_s:.0f} s", flush=True)
    client.set_registered_model_alias(MODEL, "champion", str(versions))


def print_rows(rows: list[Row], versions: int) -> None:
    """Print the table."""
    print(f"\n{versions} versions of one model; milliseconds")
    print(f"{'':22} {'wall, median':>19}   {'CPU, lower quartile':>26}")
    print(f"{'call':22} {'ours':>9} {'MLflow':>9}   {'ours':>8} {'MLflow':>8} {'ratio':>8} {'limit':>6}")
    for row in rows:
        ours, theirs = row.ours, row.theirs
        limit = ("kept" if row.is_within else "OVER") if row.limited else ""
        print(
            f"{row.name:22} {ours.wall_s * 1000:9.2f} {theirs.wall_s * 1000:9.2f}   {ours.cpu_s * 1000:8.2f} "
            f"{theirs.cpu_s * 1000:8.2f} {ours.cpu_s / theirs.cpu_s:8.2f} {limit:>6}"
        )


def _register(client: "MlflowClient", model: Path) -> object:
    """Do what a person does with MLflow alone: a run, its files, a version."""
    run = client.create_run(client.get_experiment_by_name("roost").experiment_id)
    client.log_artifacts(run.info.run_id, str(model), "content")
    client.set_terminated(run.info.run_id)
    return client.create_model_version(MODEL, f"{run.info.artifact_uri}/content", run_id=run.info.run_id)


def _client(home: Path) -> "MlflowClient":
    from mlflow import MlflowClient

    uri = f"sqlite:///{home.resolve()}/mlflow.db"
    return MlflowClient(uri, uri)


def _small_model(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_index.json").write_text("{}")
    return folder


if __name__ == "__main__":
    main()

"""``roost rollout``: start, watch and steer rollouts; plan, simulate and replay them."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.errors import NotFound
from contracts.notation import format_duration, format_fraction, parse_duration_s
from controlplane.cli import rollout_act, rollout_watch
from controlplane.cli.client import Api
from controlplane.cli.output import print_json, print_table
from controlplane.cli.session import HomeOption, ServerOption, TokenOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.rehearsal.recorded import Moment
    from controlplane.rehearsal.trial import Share, Trial
    from rollout.plan import Plan

app = typer.Typer(help="Start rollouts and watch them; plan, simulate and replay.", no_args_is_help=True)
rollout_act.add_commands(app)
rollout_watch.add_commands(app)
Spec = Annotated[Path, typer.Argument(help="The service spec.")]
Rate = Annotated[float, typer.Option(help="The service's requests per second.")]
Runs = Annotated[int, typer.Option(min=20, max=10_000, help="Simulated rollouts of each case.")]
Seed = Annotated[int, typer.Option(help="Seed of all chance.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys.")]
Champion = Annotated[
    list[str] | None,
    typer.Option(help="The champion's bad rate or mean score: availability=0.2%. Two fifths of the budget otherwise."),
]
NOTHING = "–"


@app.command()
def plan(
    spec: Spec,
    rate: Rate,
    *,
    champion: Champion = None,
    runs: Runs = 100,
    seed: Seed = 0,
    challenger: Annotated[
        str, typer.Option("--version", help="Also ask the control plane whether this version fits beside its champion.")
    ] = "",
    home: HomeOption = Path(".roost"),
    server: ServerOption = "",
    token: TokenOption = "",
    as_json: AsJson = False,
) -> None:
    """Tell what a policy promises at a request rate: time to proof, which faults are caught, and what is not seen."""
    from controlplane.rehearsal.policies import check_size, load_policy, make_scenario, read_levels
    from controlplane.rehearsal.trial import forecast

    service, policy = load_policy(spec)
    levels = read_levels(champion or (), policy, "champion")
    make_scenario(policy, request_rate=rate, champion=levels, fault={}, onset_s=0.0)
    check_size(policy, request_rate=rate, runs=runs)
    headroom = _ask_headroom(Api.find(home, server, token), service.service, challenger) if challenger else None
    found = forecast(policy, rate, levels, runs=runs, seed=seed)
    if as_json:
        told = {"service": service.service, "rate": rate, "runs": runs, "headroom": headroom}
        print_json({**told, **_finite(asdict(found))})
        return
    typer.echo(f"{service.service} at {rate:g} requests/s; {runs} simulated rollouts of each case")
    _print_plan(found, policy.spec.bake, policy.spec.max_duration)
    if headroom is not None:
        typer.echo(f"headroom: {headroom}")


def _ask_headroom(api: Api, service: str, version: str) -> str:
    """Return what the control plane would do about memory, were a rollout of a version started now."""
    try:
        return str(api.get(f"/services/{service}/headroom", version=version)["sentence"])
    finally:
        api.close()


@app.command()
def simulate(
    spec: Spec,
    rate: Rate,
    *,
    fault: Annotated[
        list[str] | None, typer.Option(help="The challenger's bad rate or mean score: availability=2%, text=80%.")
    ] = None,
    champion: Champion = None,
    onset: Annotated[str, typer.Option(help="When the fault begins after the start: 5m.")] = "0s",
    peers: Annotated[bool, typer.Option(help="Show what the rules of its peers do on the same traffic.")] = False,
    runs: Runs = 200,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run a policy on simulated traffic with a fault, or with none, and tell how the rollouts end."""
    from controlplane.rehearsal.policies import check_size, load_policy, make_scenario, read_levels
    from controlplane.rehearsal.trial import try_policy

    service, policy = load_policy(spec)
    scenario = make_scenario(
        policy,
        request_rate=rate,
        champion=read_levels(champion or (), policy, "champion"),
        fault=read_levels(fault or (), policy, "fault"),
        onset_s=parse_duration_s(onset),
    )
    check_size(policy, request_rate=rate, runs=runs)
    trials = list(try_policy(policy, scenario, runs=runs, seed=seed, peers=peers))
    if as_json:
        rows = [trial.to_document() for trial in trials]
        print_json({"service": service.service, "rate": rate, "runs": runs, "trials": rows})
        return
    told = ", ".join(fault or ()) or "no fault"
    typer.echo(f"{service.service} at {rate:g} requests/s, {told}; {runs} simulated rollouts, 95 % intervals")
    _print_trials(trials)


@app.command()
def replay(
    rollout_id: Annotated[str, typer.Argument(help="The rollout, as the ledger names it.")],
    spec: Annotated[Path, typer.Option(help="The service spec whose policy decides.")],
    home: Annotated[Path, typer.Option(help="The folder that holds the system's state.", envvar="ROOST_HOME")] = Path(
        ".roost"
    ),
    as_json: AsJson = False,
) -> None:
    """Decide a recorded rollout again, under the policy of a spec, beside what was decided then."""
    from controlplane.rehearsal.policies import load_policy
    from controlplane.rehearsal.recorded import rerun
    from controlplane.reporting import open_ledger
    from controlplane.settings import Settings

    _, policy = load_policy(spec)
    with open_ledger(Settings(home)) as ledger:
        if ledger is None:
            raise NotFound(f"there is no ledger in {home}", hint="name the folder with --home")
        found = rerun(ledger, rollout_id, policy)
    if as_json:
        print_json(asdict(found))
        return
    which = "its own policy" if found.same_policy else "another policy"
    typer.echo(f"{rollout_id} under {which}: {found.differences} ticks decided otherwise")
    for title, moments in (("as it was decided", found.recorded), ("decided again", found.replayed)):
        typer.echo(f"\n{title}")
        _print_moments(moments)


def _print_plan(found: "Plan", bake_s: float, max_duration_s: float) -> None:
    limit = format_duration(max_duration_s)
    if math.isfinite(found.promote_s):
        proven = f"a good challenger is proven after {_duration(found.promote_s)} in half of all runs"
        if math.isfinite(found.promote_90_s):
            proven += f", after {_duration(found.promote_90_s)} in 9 of 10"
        proven += f" (at most {limit} are allowed)"
    else:
        proven = f"fewer than half of good challengers are proven within {limit}"
    typer.echo(f"{proven}; then it bakes for {format_duration(bake_s)}\n")
    rows = [
        [c.fault, format_fraction(c.caught), _duration(c.time_s), _number(c.requests), _number(c.bad)]
        for c in found.catches
    ]
    print_table(["FAULT", "CAUGHT", "AFTER", "REQUESTS", "BAD ANSWERS"], rows)
    if math.isfinite(found.proof_bad):
        typer.echo(f"\nproof against the champion costs about {found.proof_bad:.0f} bad answers of both versions")
    for warning in found.warnings:
        typer.echo(f"! {warning}")


def _print_trials(trials: "Sequence[Trial]") -> None:
    rows = [
        [
            t.rule,
            *map(_share, (t.promoted, t.rolled_back, t.undecided)),
            _duration(t.time_s),
            *map(_number, (t.requests, t.bad)),
        ]
        for t in trials
    ]
    print_table(["RULE", "PROMOTED", "ROLLED BACK", "UNDECIDED", "AFTER", "REQUESTS", "BAD ANSWERS"], rows)


def _print_moments(moments: "Sequence[Moment]") -> None:
    rows = [[f"{m.at_s:.0f} s", m.phase, format_fraction(m.weight), m.sentence] for m in moments]
    print_table(["AT", "PHASE", "WEIGHT", "WHY"], rows)


def _share(share: "Share") -> str:
    low, high = (format_fraction(value) for value in (share.low, share.high))
    return f"{format_fraction(share.count / share.n)} [{low}, {high}]"


def _duration(duration_s: float) -> str:
    return format_duration(duration_s) if math.isfinite(duration_s) else NOTHING


def _number(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else NOTHING


def _finite(document: Any) -> Any:
    """Return a document without the numbers that JSON doesn't have; they are null."""
    if isinstance(document, dict):
        return {key: _finite(value) for key, value in document.items()}
    if isinstance(document, (list, tuple)):
        return [_finite(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document

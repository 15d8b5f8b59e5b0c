"""A rollout as the API tells it, in words and rows for people."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.notation import format_duration, format_fraction

Document = Mapping[str, Any]
NOTHING = "–"
GLYPHS = {
    "promoted": "✔",
    "rolled-back": "✖",
    "rolling-back": "✖",
    "aborted": "✖",
    "aborting": "✖",
    "failed": "✖",
    "paused": "‖",
}
OUTCOMES = {"pass": "✔ safe", "harm": "✖ harm", "inconclusive": "◌ open", "no-data": "◌ no data"}
COLUMNS = ("ROLLOUT", "VERSION", "PHASE", "WEIGHT", "VERDICT", "AGE")
CHECK_COLUMNS = ("CHECK", "KIND", "VALUE", "LIMIT", "N", "EVIDENCE", "OF SAFETY", "STATE")


def tell_phase(rollout: Document) -> str:
    """Return the phase with its glyph."""
    phase = rollout["phase"]
    return f"{GLYPHS.get(phase, '◌')} {phase.replace('-', ' ')}"


def tell_verdict(rollout: Document) -> str:
    """Return the last decision's sentence; before the first, what is waited for."""
    decision = rollout.get("decision")
    return decision["sentence"] if decision else "waits for the control plane to take it up"


def list_row(rollout: Document) -> list[str]:
    """Return a rollout as a row of `COLUMNS`."""
    ended_s = rollout["updated_s"] if rollout["ended"] else time.time()
    return [
        rollout["id"],
        f"{rollout['champion']} → {rollout['challenger']}",
        tell_phase(rollout),
        format_fraction(rollout["weight"]),
        tell_verdict(rollout),
        format_duration(max(0.0, round(ended_s - rollout["created_s"]))),
    ]


def head_lines(rollout: Document) -> list[str]:
    """Return what a person reads first: what, where it stands, and why."""
    applied = rollout.get("weight_applied")
    measured = f", {format_fraction(applied)} in force" if applied is not None else ""
    forced = "  forced" if rollout["forced"] else ""
    lines = [
        f"Rollout   {rollout['id']}",
        f"Service   {rollout['service']}   champion {rollout['champion']} → challenger {rollout['challenger']}{forced}",
        f"Phase     {tell_phase(rollout)}",
        f"Weight    {format_fraction(rollout['weight'])} asked{measured}",
        f"Verdict   {tell_verdict(rollout)}",
        *([f"Problem   it can't be gone on with: {rollout['problem']}"] if rollout["problem"] else []),
        *([f"Headroom  {rollout['headroom']}"] if rollout.get("headroom") and not rollout["ended"] else []),
        f"Started   by {rollout['actor']}: {rollout['reason']}",
    ]
    waiting = [wish for wish in rollout.get("wishes", ()) if wish["met_s"] is None]
    lines += [f"Asked     {wish['kind']} by {wish['actor']}, not yet taken" for wish in waiting]
    return lines


def check_rows(rollout: Document) -> list[list[str]]:
    """Return the gates of the last decision as rows of `CHECK_COLUMNS`."""
    decision = rollout.get("decision")
    return [_check_row(verdict) for verdict in (decision or {}).get("verdicts", ())]


def action_lines(actions: Sequence[Document]) -> list[str]:
    """Return what may be asked now, and why the rest may not."""
    return [
        f"{'✔' if action['allowed'] else '✖'} {action['name']:<13} {action['effect'] or action['why_not']}"
        for action in actions
    ]


def progress_line(rollout: Document) -> str:
    """Return one line for a log: time, phase, weight, verdict."""
    decision = rollout.get("decision")
    at_s = decision["at_s"] if decision else rollout["updated_s"]
    moment = time.strftime("%H:%M:%S", time.localtime(at_s))
    code = f" {decision['code']}" if decision else ""
    return f"{moment} {rollout['phase']} weight {format_fraction(rollout['weight'])}{code} {tell_verdict(rollout)}"


def tell_moment(at_s: float | None) -> str:
    """Return a moment of this machine's clock, for people."""
    return NOTHING if at_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))


def _check_row(verdict: Document) -> list[str]:
    needed, safe_needed = verdict["needed"], verdict["safe_needed"]
    safety = _of(verdict["safe_evidence"], safe_needed) if safe_needed is not None else NOTHING
    return [
        verdict["gate"],
        verdict["kind"],
        _number(verdict["value"]),
        _number(verdict["limit"]),
        str(verdict["n"]),
        _of(verdict["evidence"], needed),
        safety,
        OUTCOMES.get(verdict["outcome"], verdict["outcome"]),
    ]


def _of(value: float | None, needed: float | None) -> str:
    return f"{_number(value)} of {_number(needed)}"


def _number(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"

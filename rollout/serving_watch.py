"""The watch over a version that owns production: burn alerts for people, and proof of harm that begins late.

Burn alerts are the multi-window rules of `rollout.burn`. Proof is an e-process per objective against "tolerable": half
of its prior mass is spread evenly over the objective's window, so that a fault may begin at any time, and P(any false
proof within one window) ≤ ``false_alarms`` for independent requests (Ville 1939). It begins anew with each window.
Counts are deflated while bad requests come in bursts.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from contracts.errors import InvalidInput
from contracts.records import record
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from contracts.units import format_fraction
from rollout.burn import Finding, Sample, Severity, judge_burn
from rollout.evidence.counts import Side, Tally, counts_test
from rollout.evidence.dispersion import THRESHOLD, Dispersion
from rollout.evidence.mixture import ONSET_AT_START, EProcess
from rollout.evidence.scores import scores_test

SCHEMA: Final = 1
MINUTE_S: Final = 60
HOUR_S: Final = 3600
KEPT_MINUTES: Final = 6 * 60 + 1
KEPT_HOURS: Final = 3 * 24 + 1
JUDGE_EVERY_S: Final = 30.0
FEWEST_BAD: Final = 5
"""Fewer bad requests in the long window wake nobody, whatever their share."""


@record(frozen=True, slots=True)
class Glance:
    """What one tick brought of one version, by objective: its attempts, its service's requests, its scores.

    Attempts prove harm; burns are of what users got. Without ``proves`` only burns are looked at: somebody else judges
    the version at present.
    """

    at_s: float
    attempts: Mapping[str, Tally] = field(default_factory=dict)
    requests: Mapping[str, Tally] = field(default_factory=dict)
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    proves: bool = True


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that people, or the guard, must know; ``code`` is stable, ``evidence`` ln of an e-value or a burn."""

    code: str
    objective: str
    sentence: str
    evidence: float


@record(frozen=True, slots=True)
class ObjectiveWatch:
    """What is known of one objective: its e-process, since when, its bursts, and its counts by minute and hour."""

    process: EProcess
    since_s: float
    dispersion: Dispersion = field(default_factory=Dispersion)
    proven: bool = False
    minutes: tuple[tuple[int, int, int], ...] = ()
    hours: tuple[tuple[int, int, int], ...] = ()
    firing: tuple[int, ...] = ()


PARTS: Final = fields(ObjectiveWatch)


@record(frozen=True, slots=True)
class ServingWatch:
    """The watch over one version since it owns production; burns are judged twice a minute."""

    since_s: float
    at_s: float
    judged_s: float
    objectives: Mapping[str, ObjectiveWatch] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the watch as JSON; ``from_json`` gives back an equal one."""
        rows = {
            name: {part.name: getattr(watch, part.name) for part in PARTS}
            | {"process": watch.process.to_json(), "dispersion": watch.dispersion.to_json()}
            for name, watch in self.objectives.items()
        }
        document = {"schema": SCHEMA, "since_s": self.since_s, "at_s": self.at_s, "judged_s": self.judged_s}
        return json.dumps(document | {"objectives": rows}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "ServingWatch":
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: when it is something else, or of another release.
        """
        try:
            row = json.loads(text)
            if row["schema"] != SCHEMA:
                raise InvalidInput(
                    f"watch.schema: {row['schema']!r} is not readable", hint=f"this release reads {SCHEMA}"
                )
            objectives = {name: _read(part) for name, part in row["objectives"].items()}
            return cls(row["since_s"], row["at_s"], row["judged_s"], objectives)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"watch: not a watch over a version ({error})") from None


def begin_watch(at_s: float) -> ServingWatch:
    """Return a watch that has seen nothing."""
    return ServingWatch(at_s, at_s, at_s)


def watch(
    objectives: Mapping[str, Slo], state: ServingWatch, glance: Glance, *, false_alarms: float
) -> tuple[ServingWatch, tuple[Alarm, ...]]:
    """Return the watch after one tick, and what it found: each proof and each burn is told when it begins.

    Raises:
        InvalidInput: when a count or a score can't be.
    """
    passed_s = max(glance.at_s - state.at_s, 0.0)
    judging = glance.at_s - state.judged_s >= JUDGE_EVERY_S
    alarms: list[Alarm] = []
    after = {}
    for name, slo in objectives.items():
        known = state.objectives.get(name) or ObjectiveWatch(_start(slo), glance.at_s)
        if glance.proves:
            known = _prove(name, slo, known, glance, passed_s=passed_s, false_alarms=false_alarms, alarms=alarms)
        if not isinstance(slo, ScoreSlo):
            known = _count(known, glance.requests.get(name, Tally()), glance.at_s)
            if judging:
                known = _judge(name, slo, known, at_s=glance.at_s, born_s=state.since_s, alarms=alarms)
        after[name] = known
    judged_s = glance.at_s if judging else state.judged_s
    return ServingWatch(state.since_s, max(state.at_s, glance.at_s), judged_s, after), tuple(alarms)


def harm_bound(slo: Slo) -> float:
    """Return the bad rate, or the mean score, beyond which a version is harmful."""
    if isinstance(slo, ScoreSlo):
        return slo.objective - slo.margin
    return min(slo.tolerable_burn * (1 - slo.objective), 0.99)


def _start(slo: Slo) -> EProcess:
    bound = harm_bound(slo)
    test = scores_test(bound, Side.HARM) if isinstance(slo, ScoreSlo) else counts_test(bound, Side.HARM)
    return test.start()


def _prove(
    name: str,
    slo: Slo,
    known: ObjectiveWatch,
    glance: Glance,
    *,
    passed_s: float,
    false_alarms: float,
    alarms: list[Alarm],
) -> ObjectiveWatch:
    if known.proven:
        return known
    if glance.at_s - known.since_s >= slo.window:
        known = replace(known, process=_start(slo), since_s=glance.at_s)
    onset, bound = (1 - ONSET_AT_START) * passed_s / slo.window, harm_bound(slo)
    if isinstance(slo, ScoreSlo):
        scores = glance.scores.get(name, ())
        process = scores_test(bound, Side.HARM).update(known.process, scores, onset=onset)
        known = replace(known, process=process)
        seen = f"mean scores below {bound:.3g}"
    else:
        tick = glance.attempts.get(name, Tally())
        deflation = known.dispersion.estimate if known.dispersion.estimate > THRESHOLD else 1.0
        process = counts_test(bound, Side.HARM).update(known.process, tick, onset=onset, dispersion=deflation)
        known = replace(known, process=process, dispersion=known.dispersion.update(tick))
        kind = "slow" if isinstance(slo, LatencySlo) else "bad"
        seen = f"more than {format_fraction(bound)} {kind} answers"
    if process.log_evidence < -math.log(false_alarms):
        return known
    alarms.append(Alarm("watch.harm-proven", name, f"{name}: {seen} are proven", process.log_evidence))
    return replace(known, proven=True)


def _count(known: ObjectiveWatch, tick: Tally, at_s: float) -> ObjectiveWatch:
    if not tick.total:
        return known
    return replace(
        known,
        minutes=_add(known.minutes, int(at_s // MINUTE_S), tick, KEPT_MINUTES),
        hours=_add(known.hours, int(at_s // HOUR_S), tick, KEPT_HOURS),
    )


def _add(
    rows: tuple[tuple[int, int, int], ...], bucket: int, tick: Tally, kept: int
) -> tuple[tuple[int, int, int], ...]:
    if rows and rows[-1][0] >= bucket:
        last, bad, total = rows[-1]
        return (*rows[:-1], (last, bad + tick.bad, total + tick.total))
    return (*(row for row in rows if row[0] > bucket - kept), (bucket, tick.bad, tick.total))


def _judge(
    name: str, slo: Slo, known: ObjectiveWatch, *, at_s: float, born_s: float, alarms: list[Alarm]
) -> ObjectiveWatch:
    if not known.firing and not any(bad for _, bad, _ in known.minutes):
        return known  # each rule's short window is among these minutes
    findings = judge_burn(_samples(known, at_s), now_s=at_s, objective=slo.objective, born_s=born_s, min_bad=FEWEST_BAD)
    firing = tuple(index for index, finding in enumerate(findings) if finding.fires)
    alarms += [_tell_burn(name, findings[index]) for index in firing if index not in known.firing]
    if known.firing and not firing:
        alarms.append(Alarm("burn.over", name, f"{name}: the budget is no longer burning", 0.0))
    return replace(known, firing=firing)


def _samples(known: ObjectiveWatch, at_s: float) -> list[Sample]:
    """Return counts by minute as far back as these reach, by hour before that; the present bucket ends now."""
    oldest_s = known.minutes[0][0] * MINUTE_S if known.minutes else at_s
    samples = [
        Sample(min((hour + 1) * HOUR_S, at_s), HOUR_S, Tally(bad, total))
        for hour, bad, total in known.hours
        if (hour + 1) * HOUR_S <= oldest_s
    ]
    return samples + [
        Sample(min((minute + 1) * MINUTE_S, at_s), MINUTE_S, Tally(bad, total)) for minute, bad, total in known.minutes
    ]


def _tell_burn(name: str, finding: Finding) -> Alarm:
    code = "burn.page" if finding.rule.severity is Severity.PAGE else "burn.ticket"
    return Alarm(code, name, f"{name}: {finding.sentence}", finding.long.rate)


def _read(part: dict[str, Any]) -> ObjectiveWatch:
    part["process"] = EProcess.from_json(part["process"])
    part["dispersion"] = Dispersion.from_json(part["dispersion"])
    for name in ("minutes", "hours"):
        part[name] = tuple((int(bucket), int(bad), int(total)) for bucket, bad, total in part[name])
    part["firing"] = tuple(part["firing"])
    return ObjectiveWatch(**part)

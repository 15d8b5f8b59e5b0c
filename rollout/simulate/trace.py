"""What a simulated run looks like to ``decide``: its ticks as observations."""

from dataclasses import replace

from rollout.evidence.counts import Tally
from rollout.evidence.stack import CHALLENGER, CHAMPION
from rollout.evidence.two_arm import ArmsTick
from rollout.observation import Exposure, Observation, ScoresTick
from rollout.policy import Policy
from rollout.simulate.scenario import Scenario
from rollout.simulate.stream import Counts, Happened


def observe(
    policy: Policy,
    scenario: Scenario,
    at_s: float,
    *,
    newest_s: float,
    weight: float,
    arrived: tuple[float, Happened, int] | None,
) -> Observation:
    """Return one run's tick as an observation.

    ``weight`` is in force now; ``arrived`` is what telemetry brought, with the weight it was served at and the run's
    row in it, or ``None``.
    """
    common = Observation(
        at_s=at_s,
        newest_telemetry_s=newest_s,
        request_rate=scenario.request_rate,
        ready=True,
        weight_applied=weight,
    )
    if arrived is None:
        return common
    served_at, happened, row = arrived
    parts = tuple(scenario.parts)
    bad, total = happened.bad[row].astype(int), happened.total[row].astype(int)
    counts = {name: _arms(bad[k, 0], total[k, 0]) for k, name in enumerate(policy.counted)}
    slices = {
        name: {part: _arms(bad[k, 1 + j], total[k, 1 + j]) for j, part in enumerate(parts)}
        for k, name in enumerate(policy.counted)
    }
    scores = {
        name: ScoresTick(tuple(mine[row].tolist()), tuple(theirs[row].tolist()))
        for name, (mine, theirs) in zip(policy.scored, happened.scores, strict=True)
    }
    assigned = happened.assigned[row].astype(int)
    exposure = Exposure(served_at, int(assigned[CHALLENGER]), int(assigned[CHAMPION]))
    return replace(common, counts=counts, slices=slices if parts else {}, scores=scores, exposures=(exposure,))


def _arms(bad: Counts, total: Counts) -> ArmsTick:
    return ArmsTick(
        Tally(int(bad[CHALLENGER]), int(total[CHALLENGER])), Tally(int(bad[CHAMPION]), int(total[CHAMPION]))
    )

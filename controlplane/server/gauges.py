"""What Prometheus is told of this control plane: the loop, the stores and the objectives at one moment."""

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import func, select

from controlplane.loop.controller import Controller
from controlplane.loop.snapshot import ServiceView
from controlplane.metrics.snapshot import ControlSnapshot, RolloutSnapshot, SloSnapshot
from controlplane.store.schema import FREEZES, JOBS, KILLS, ROLLOUTS
from controlplane.stores import Stores
from controlplane.web.views.slos import SloView


def take_snapshot(controller: Controller, stores: Stores, slos: Sequence[SloView]) -> ControlSnapshot:
    """Return everything at this moment.

    Raises:
        Unavailable: when the database doesn't answer.
    """
    seen = controller.snapshot()
    with stores.database.read() as connection:
        now_s = stores.database.now_s(connection)
        phases = connection.execute(select(ROLLOUTS.c.phase, func.count()).group_by(ROLLOUTS.c.phase)).all()
        jobs = connection.execute(select(JOBS.c.state, func.count()).group_by(JOBS.c.state)).all()
        open_freezes = FREEZES.c.lifted_s.is_(None) & (FREEZES.c.from_s <= now_s)
        in_time = FREEZES.c.until_s.is_(None) | (FREEZES.c.until_s > now_s)
        frozen = connection.execute(select(func.count()).select_from(FREEZES).where(open_freezes & in_time)).scalar()
        killed = connection.execute(select(func.count()).select_from(KILLS).where(KILLS.c.lifted_s.is_(None))).scalar()
    return ControlSnapshot(
        leads=seen.leads,
        rollouts=tuple(_living(seen.services.values())),
        rollouts_by_phase={phase: int(count) for phase, count in phases},
        slos=tuple(SloSnapshot(slo.service, slo.name, slo.sli, slo.budget, slo.findings) for slo in slos),
        jobs_by_state={state: int(count) for state, count in jobs},
        outbox=stores.outbox.backlog(),
        frozen=int(frozen or 0),
        killed=int(killed or 0),
    )


def _living(views: Iterable[ServiceView]) -> Iterator[RolloutSnapshot]:
    for view in views:
        if view.decision is None or view.rollout_id is None:
            continue
        decision = view.decision
        yield RolloutSnapshot(
            rollout_id=view.rollout_id,
            service=view.service,
            champion=decision.state.champion,
            challenger=decision.state.challenger,
            phase=decision.state.phase,
            reason=decision.reason.code.value,
            decided_s=decision.state.at_s,
            weight=decision.weight,
            mirror_share=decision.mirror_share,
            weight_applied=view.weight_applied,
            verdicts=tuple(decision.verdicts),
        )

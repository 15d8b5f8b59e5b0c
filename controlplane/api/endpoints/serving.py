"""What serves, how well, and whether this control plane is there."""

from dataclasses import asdict
from importlib.metadata import version as distribution_version

from fastapi import APIRouter
from pydantic import BaseModel

from controlplane.api.context import ApiContext, Context
from controlplane.api.paging import Cursor, Limit, Page, cut
from controlplane.api.parameters import ServiceName
from controlplane.api.principal import Viewer
from controlplane.api.route import GuardedRoute
from controlplane.api.telling import finite
from controlplane.web.views.slos import SloView, view_slos

router = APIRouter(route_class=GuardedRoute, tags=["serving"])


class Health(BaseModel):
    """That the control plane answers; ``leads`` tells whether it is the one that decides."""

    version: str
    leads: bool


class BurnDocument(BaseModel):
    """How much faster than allowed the budget goes, over one window; ``fires`` when its rule alerts."""

    window_s: float
    rate: float | None
    severity: str
    factor: float
    fires: bool


class SloDocument(BaseModel):
    """One objective over its window: ``sli`` is a share of good events or a mean score, null without data.

    ``state`` is met, missed or no-data; ``budget_left`` and ``gone_in_s`` are null where there is no budget.
    """

    service: str
    name: str
    kind: str
    lane: str
    objective: float
    window_s: float
    sli: float | None
    n: int
    bad: int
    budget_left: float | None
    gone_in_s: float | None
    burns: list[BurnDocument]
    state: str
    sentence: str


@router.get("/health")
def show_health(context: Context) -> Health:
    """Tell that the control plane answers; needs no token."""
    return Health(version=distribution_version("roost"), leads=context.leads())


@router.get("/slos")
async def list_slos(who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100) -> Page[SloDocument]:
    """List all objectives, the least budget left first."""
    return cut(await _read(context), cursor, limit)


@router.get("/slos/{service}")
async def show_slos(
    service: ServiceName, who: Viewer, context: Context, cursor: Cursor = None, limit: Limit = 100
) -> Page[SloDocument]:
    """List the objectives of one service."""
    return cut([row for row in await _read(context) if row.service == service], cursor, limit)


async def _read(context: ApiContext) -> list[SloDocument]:
    known = view_slos(await context.home.telemetry.read())
    return [_tell(row) for row in known.rows] if known is not None else []


def _tell(row: SloView) -> SloDocument:
    same = ("service", "name", "kind", "lane", "objective", "window_s", "sli", "n", "bad", "sentence")
    budget = asdict(row.budget) if row.budget is not None else {}
    burns = [
        BurnDocument(
            window_s=burn.window_s,
            rate=finite(burn.rate),
            severity=finding.rule.severity.value,
            factor=finding.rule.factor,
            fires=finding.fires,
        )
        for finding in row.findings
        for burn in (finding.long, finding.short)
    ]
    return SloDocument(
        **{name: finite(getattr(row, name)) for name in same},
        budget_left=finite(budget.get("left")),
        gone_in_s=finite(budget.get("gone_in_s")),
        burns=burns,
        state={None: "no-data", True: "met", False: "missed"}[row.is_met],
    )

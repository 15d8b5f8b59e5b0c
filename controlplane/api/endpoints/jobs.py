"""Jobs: long work, asked for, watched and ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from controlplane.api.context import Context
from controlplane.api.documents import ID_PATTERN, WHOLE, Body, JobDocument, Reason, WhyBody
from controlplane.api.paging import Limit, Page, cut
from controlplane.api.principal import Operator, Viewer
from controlplane.api.route import GuardedRoute, take_key
from controlplane.api.telling import tell_job
from controlplane.jobs.job import JobState

router = APIRouter(route_class=GuardedRoute, tags=["jobs"])
JobId = Annotated[str, Path(pattern=ID_PATTERN, max_length=200)]
KIND_PATTERN = r"^[a-z][a-z0-9-]{0,99}$"
DEEPEST_PAGE = 10_000


class JobBody(Body):
    """A job to be done; under an ``id`` that is there already, the job that is there."""

    kind: Annotated[str, Field(pattern=KIND_PATTERN)]
    reason: Reason
    arguments: dict[str, Any] = Field(default_factory=dict)
    priority: Annotated[int, Field(ge=-1000, le=1000), WHOLE] = 0
    id: Annotated[str, Field(pattern=ID_PATTERN)] | None = None


@router.get("/jobs")
def list_jobs(
    who: Viewer,
    context: Context,
    *,
    state: JobState | None = None,
    kind: Annotated[str | None, Query(pattern=KIND_PATTERN)] = None,
    cursor: Annotated[int | None, Query(ge=0, le=DEEPEST_PAGE)] = None,
    limit: Limit = 100,
) -> Page[JobDocument]:
    """List jobs, the newest first."""
    states = [state] if state is not None else []
    found = context.stores.jobs.list(states=states, kind=kind, at_most=(cursor or 0) + limit + 1)
    return cut([tell_job(job) for job in found], cursor, limit)


@router.post("/jobs", status_code=202, dependencies=[Depends(take_key)])
def submit_job(body: JobBody, who: Operator, context: Context) -> JobDocument:
    """Ask for a job of one of the kinds that there are."""
    stores = context.stores
    with stores.database.write() as connection:
        job_id = stores.jobs.put(
            connection,
            body.kind,
            body.arguments,
            actor=who.actor,
            reason=body.reason,
            priority=body.priority,
            job_id=body.id,
        )
        stores.audit.write(
            connection,
            actor=who.actor,
            action="job.submit",
            subject=f"job/{job_id}",
            reason=body.reason,
            detail={"kind": body.kind},
        )
    return tell_job(stores.jobs.get(job_id))


@router.get("/jobs/{job}")
def show_job(job: JobId, who: Viewer, context: Context) -> JobDocument:
    """Show all that is known of a job."""
    return tell_job(context.stores.jobs.get(job))


@router.post("/jobs/{job}/cancel", status_code=202, dependencies=[Depends(take_key)])
def cancel_job(job: JobId, body: WhyBody, who: Operator, context: Context) -> JobDocument:
    """End a job: at once while it waits, at its worker's next heartbeat while it runs."""
    return tell_job(context.stores.jobs.cancel(job, actor=who.actor, reason=body.reason))

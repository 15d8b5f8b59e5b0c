"""The job that keeps the database small: messages, jobs and answers that are past their time go."""

from pathlib import Path
from typing import Any

from controlplane.jobs.context import JobContext


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove what is done with and past its time; returns how many rows of each kind."""
    from controlplane.keeping import load_keep, remove_what_is_done
    from controlplane.settings import Settings
    from controlplane.store.migrate import open_store

    settings = Settings(Path(context.home))
    keep = load_keep(settings.home)
    database = open_store(settings.database_url)
    try:
        return dict(remove_what_is_done(database, keep))
    finally:
        database.close()

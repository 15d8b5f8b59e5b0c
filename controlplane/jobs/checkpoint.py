"""The job that signs where the chains end, and writes it outside the database."""

from pathlib import Path
from typing import Any

from controlplane.jobs.context import JobContext


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Sign the heads of decisions and audit; returns how long each chain is."""
    from controlplane.settings import Settings
    from controlplane.store import audit, sql_ledger
    from controlplane.store.checkpoints import Checkpoints
    from controlplane.store.migrate import open_store

    settings = Settings(Path(context.home))
    database = open_store(settings.database_url)
    try:
        signer = Checkpoints(settings.checkpoints, settings.checkpoint_key)
        heads = signer.sign(database, [sql_ledger.CHAIN, audit.CHAIN])
    finally:
        database.close()
    return {head.chain: head.length for head in heads}

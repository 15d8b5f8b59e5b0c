"""The job that inspects a version: whether its bytes are those registered, and what the rules refuse in them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from contracts.ids import VersionRef
from controlplane.jobs.arguments import Arguments, Reference
from controlplane.jobs.context import JobContext


class ScanArguments(Arguments):
    """Which version."""

    version: Reference


def run(context: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
    """Read every byte of a version; ``passes`` tells whether it may be loaded, ``findings`` what speaks against it."""
    from contracts.errors import IntegrityError
    from controlplane.evaluation.comparing import open_catalogue
    from controlplane.settings import Settings

    asked = ScanArguments.model_validate(arguments)
    catalogue = open_catalogue(Settings(Path(context.home)))
    record = catalogue.get(VersionRef.parse(asked.version))
    context.report(0.1, f"reading {record.id}, {record.size_bytes} bytes")
    told = {"version": str(record.id), "digest": record.digest, "bytes": record.size_bytes}
    try:
        findings = catalogue.inspect(record.id)
    except IntegrityError as error:
        return {**told, "passes": False, "changed": error.message, "findings": [], "waived": []}
    waived = [waiver.reason for waiver in catalogue.journal.waivers(record.digest)]
    passes = all(finding.waivable and waived for finding in findings)
    return {
        **told,
        "passes": passes,
        "changed": "",
        "findings": [asdict(finding) for finding in findings],
        "waived": waived,
    }

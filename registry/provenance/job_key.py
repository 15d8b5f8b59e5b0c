"""The key with which the jobs of one registry sign what they did: made on first use, local, its owner's only."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from registry.provenance.keys import generate_key, load_private_key

JOB_KEY: Final = "jobs"


def job_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return the jobs' key in a folder, made now if there is none; the public half lies beside it as ``jobs.pub``.

    Raises:
        NotPermitted: when others may read it.
        InvalidInput: when it is no key.
    """
    path = folder / JOB_KEY
    if not path.exists():
        generate_key(path)
    return load_private_key(path)

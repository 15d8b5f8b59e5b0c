"""The worker process: ``python -m serving.worker.main``, told its ``WorkerSpec`` on standard input.

By itself it prints its port and ends with its parent. ``--report FILE`` writes who and where it is to a file instead;
with ``--lease FILE`` it outlives its parent, and ends when nobody has renewed that file for a while.
"""

import argparse
import threading
from pathlib import Path

from contracts.wire.worker import WorkerSpec
from serving.fleet.lease import await_lapse
from serving.fleet.reports import write_report
from serving.process import end_with_parent, listen, read_spec, run_server, serve_until_parent_ends
from serving.worker.app import Worker

GRACE_S = 2
GRACE_WITHOUT_SUPERVISOR_S = 60


def main() -> None:
    """Serve one version until told to end."""
    parser = argparse.ArgumentParser(prog="serving.worker.main")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--lease", type=Path)
    options = parser.parse_args()
    spec = WorkerSpec.model_validate_json(read_spec())
    app = Worker(spec).app()
    if options.report is None:
        serve_until_parent_ends(app)
        return
    listener = listen()
    write_report(options.report, spec, listener.getsockname()[1])
    if options.lease is None:
        end_with_parent()
        run_server(app, listener, grace_s=GRACE_S)
        return
    lapsed = threading.Event()
    threading.Thread(target=await_lapse, args=(options.lease, lapsed), daemon=True).start()
    run_server(app, listener, grace_s=GRACE_WITHOUT_SUPERVISOR_S, stop=lapsed)


if __name__ == "__main__":
    main()

"""The worker process: ``python -m serving.worker.main``, told its ``WorkerSpec`` on standard input."""

from contracts.wire.worker import FaultDrill, WorkerSpec
from serving.process import read_spec, serve_until_parent_ends
from serving.worker.app import Worker
from serving.worker.runtimes.diffusers import DiffusersRuntime
from serving.worker.runtimes.drill import DrillingRuntime
from serving.worker.runtimes.port import Runtime


def make_runtime(spec: WorkerSpec) -> Runtime:
    """Return the runtime that a spec names, with its declared faults if there are any."""
    runtime: Runtime = DiffusersRuntime(spec)
    return runtime if spec.faults == FaultDrill() else DrillingRuntime(runtime, spec.faults)


def main() -> None:
    """Serve one version until the parent ends."""
    spec = WorkerSpec.model_validate_json(read_spec())
    serve_until_parent_ends(Worker(spec, make_runtime(spec)).app())


if __name__ == "__main__":
    main()

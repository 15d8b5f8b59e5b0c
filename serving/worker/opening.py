"""Opening a version: its bytes are compared with its digest, then its files tell which runtime serves it."""

from pathlib import Path

from contracts.errors import IntegrityError
from contracts.manifest import make_manifest
from contracts.wire.artefact import LoadingPlan, ModelKind, read_plan
from contracts.wire.worker import FaultDrill, WorkerSpec
from serving.worker.runtimes.port import PictureRuntime, Runtime


def open_version(spec: WorkerSpec) -> Runtime:
    """Return the runtime of a version, with its declared faults if there are any; nothing is loaded yet.

    Raises:
        IntegrityError: when the directory's bytes are not those that the digest stands for.
        InvalidInput: when the directory is missing or empty, or doesn't tell what it is.
    """
    directory = Path(spec.directory)
    found = make_manifest(directory).digest
    if found != spec.digest:
        raise IntegrityError(
            f"{spec.version}: the files in {directory.name} have the digest {found[:19]}…, not {spec.digest[:19]}…",
            hint="they were changed after they were registered; register them as a new version",
        )
    runtime = _choose(spec, read_plan(directory))
    if spec.faults != FaultDrill() and isinstance(runtime, PictureRuntime):
        from serving.worker.runtimes.drill import DrillingRuntime

        return DrillingRuntime(runtime, spec.faults)
    return runtime


def _choose(spec: WorkerSpec, plan: LoadingPlan) -> Runtime:
    match plan.kind:
        case ModelKind.DIFFUSERS:
            from serving.worker.runtimes.diffusers import DiffusersRuntime

            return DiffusersRuntime(spec, plan)
        case ModelKind.ONNX:
            from serving.worker.runtimes.onnx import OnnxRuntime

            return OnnxRuntime(spec, plan.model_file)
        case ModelKind.SKOPS:
            from serving.worker.runtimes.skops import SkopsRuntime

            return SkopsRuntime(spec, plan.model_file)
        case ModelKind.PYFUNC:
            from serving.worker.runtimes.pyfunc import open_mlflow_model

            return open_mlflow_model(spec)

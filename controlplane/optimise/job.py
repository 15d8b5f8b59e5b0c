"""The job behind ``roost model optimize``: make, prove, measure, register; nothing is left behind by any failure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as distribution_version
from pathlib import Path

from contracts.clock import Clock, SystemClock
from contracts.errors import NotPermitted
from contracts.manifest import make_manifest
from contracts.rng import Rng, SystemRng
from contracts.wire.artefact import ModelKind, read_plan
from contracts.wire.worker import FaultDrill
from controlplane.loop.effects import worker_spec
from controlplane.optimise.child import Tell
from controlplane.optimise.drawing import draw_golden, worker_spec_for
from controlplane.optimise.making import Made, MakeSpec, make
from controlplane.optimise.report import Evidence, OptimiseReport
from controlplane.optimise.staging import staging
from controlplane.optimise.tables import LEAST_AGREEMENT, RowsSpec, compare_rows
from controlplane.optimise.timing import TimingSpec, compare_times
from controlplane.settings import Settings
from registry.catalogue import Proof, Registration, VersionRecord
from registry.golden import (
    LARGEST_LOSS,
    LEAST_PSNR_DB,
    PROMPTS,
    GoldenSet,
    PictureScorer,
    find_faults,
    measure_difference,
    measure_quality,
)
from registry.mlflow_catalogue import MlflowCatalogue
from registry.provenance.attestation import Job, attest
from registry.provenance.job_key import job_key
from registry.recipes.names import read_recipes, write_recipes

TABLES = {ModelKind.SKOPS, ModelKind.PYFUNC, ModelKind.ONNX}


@dataclass(frozen=True)
class OptimisePlan:
    """How to optimise: the recipes, the device that will serve, golden prompts or rows, and what must hold.

    ``least_psnr_db`` is of recipes that change no sampling; ``largest_loss`` is of the scorer's mean. With
    ``require_gain`` a version that is neither smaller nor faster is refused.
    """

    recipes: str
    device: str = "cpu"
    prompts: tuple[str, ...] = PROMPTS
    rows: Path | None = None
    scorer: PictureScorer | None = None
    least_psnr_db: float = LEAST_PSNR_DB
    largest_loss: float = LARGEST_LOSS
    require_gain: bool = False
    timing_budget_s: float = 60.0


def optimise(
    catalogue: MlflowCatalogue,
    record: VersionRecord,
    plan: OptimisePlan,
    settings: Settings,
    *,
    tell: Tell = lambda step: None,
    clock: Clock | None = None,
    rng: Rng | None = None,
    registered_by: tuple[str, ...] = (),
) -> OptimiseReport:
    """Make a version from another, prove it on golden prompts in fresh processes, and register it with its attestation.

    Raises:
        InvalidInput: when the recipes don't fit the version, or it can't be loaded.
        NotPermitted: when what was made does not pass, or has no gain and one is required.
        IntegrityError: when the version's bytes are not what was registered.
        Unavailable: when something is missing here, the disk is full, or a process died.
    """
    clock, rng = clock or SystemClock(), rng or SystemRng()
    recipes = write_recipes(read_recipes(plan.recipes))
    started_s, begun_s = clock.now_s(), time.monotonic()
    log = settings.logs / f"optimise-{record.id}.log"
    tell("verifying the version's bytes")
    directory = catalogue.fetch(record.id)
    key = job_key(settings.home / "keys")
    with staging(settings.home / "optimise") as folder:
        spec = MakeSpec(
            directory=directory,
            defaults=record.defaults,
            recipes=recipes,
            folder=folder,
            device=plan.device,
            prompts=plan.prompts,
        )
        made = make(spec, log=log, tell=tell)
        digest = make_manifest(made.directory).digest
        evidence = _Trial(catalogue, record, plan, made, directory, log, tell).gather()
        report = OptimiseReport(
            parent=record.id,
            recipe=recipes,
            size_before_bytes=_size_bytes(directory),
            size_after_bytes=_size_bytes(made.directory),
            made=made,
            evidence=evidence,
            duration_s=time.monotonic() - begun_s,
            digest=digest,
        )
        _require(report, plan)
        tell("registering")
        job = _job(rng.token(), record, report, plan, (started_s, clock.now_s()))
        proof = Proof(digest, report.to_dict(), report.metrics(), attest(job, record.id.model, digest, key))
        registration = replace(_registration(record, report), proof=proof, registered_by=registered_by)
        return replace(report, version=catalogue.register(record.id.model, registration).id)


@dataclass(frozen=True)
class _Trial:
    """Compares what was made with what it was made from."""

    catalogue: MlflowCatalogue
    record: VersionRecord
    plan: OptimisePlan
    made: Made
    directory: Path
    log: Path
    tell: Tell

    def gather(self) -> Evidence:
        """Return the evidence for the version's kind.

        Raises:
            NotPermitted: when golden prompts or rows are not passed.
        """
        kind = read_plan(self.directory).kind
        return self._compare_tables() if kind in TABLES else self._compare_pictures()

    def _compare_pictures(self) -> Evidence:
        golden = GoldenSet.of(self.plan.prompts)
        like = worker_spec(self.catalogue, self.record.id).model_copy(
            update={"device": self.plan.device, "faults": FaultDrill(), "capacity": None}
        )
        self.tell("golden prompts, as it was")
        before = draw_golden(like, golden, log=self.log)
        self.tell("golden prompts, in a fresh process")
        made = worker_spec_for(like, self.made.directory, {"defaults": self.made.defaults})
        after = draw_golden(made, golden, log=self.log)
        reference = before if self.made.reference == self.directory else after
        if self.made.reference is not None and self.made.reference != self.directory:
            self.tell("golden prompts, with the new sampling alone")
            sampled = worker_spec_for(like, self.made.reference, {"defaults": self.made.reference_defaults})
            reference = draw_golden(sampled, golden, log=self.log)
        difference = measure_difference(reference.pictures, after.pictures)
        scorer = self.plan.scorer
        quality = measure_quality(scorer, golden.prompts, before.pictures, after.pictures) if scorer else None
        faults = find_faults(
            difference, quality, least_psnr_db=self.plan.least_psnr_db, largest_loss=self.plan.largest_loss
        )
        if faults:
            raise self._refusal(faults)
        self.tell("timing side by side")
        spec = TimingSpec(
            before=self.directory,
            before_defaults=self.record.defaults,
            after=self.made.directory,
            after_defaults=self.made.defaults,
            prompts=self.plan.prompts,
            device=self.plan.device,
            budget_s=self.plan.timing_budget_s,
        )
        return Evidence(
            timing=compare_times(spec, log=self.log, tell=self.tell),
            difference=difference if self.made.reference else None,
            quality=quality,
            peak_memory_before_bytes=before.peak_memory_bytes,
            peak_memory_after_bytes=after.peak_memory_bytes,
            golden_digest=golden.digest,
        )

    def _compare_tables(self) -> Evidence:
        spec = RowsSpec(before=self.directory, after=self.made.directory, rows=self.plan.rows)
        rows = compare_rows(spec, log=self.log, tell=self.tell)
        if rows.agreement < LEAST_AGREEMENT:
            raise self._refusal([f"{1 - rows.agreement:.2%} of {rows.rows} golden rows are answered otherwise"])
        return Evidence(timing=rows.timing, rows=rows)

    def _refusal(self, faults: Sequence[str]) -> NotPermitted:
        return NotPermitted(
            f"{self.plan.recipes} of {self.record.id} does not pass, nothing was registered: {'; '.join(faults)}",
            hint="choose a gentler recipe",
        )


def _require(report: OptimiseReport, plan: OptimisePlan) -> None:
    if plan.require_gain and not report.has_gain:
        raise NotPermitted(
            f"{report.recipe} of {report.parent} brings no gain, nothing was registered: size "
            f"{report.size_ratio:.2f} ×, time {report.evidence.timing.ratio:.2f} ×",
            hint="choose another recipe, or leave out --require-gain",
        )


def _registration(record: VersionRecord, report: OptimiseReport) -> Registration:
    return Registration(
        report.made.directory,
        description=f"{record.id} by {report.recipe}",
        parent=record.id,
        defaults=report.made.defaults,
        faults=record.faults,
        lineage=replace(record.lineage, recipe=report.recipe),
    )


def _job(
    token: str, record: VersionRecord, report: OptimiseReport, plan: OptimisePlan, times_s: tuple[float, float]
) -> Job:
    started_s, ended_s = times_s
    return Job(
        id=f"optimise-{token}",
        recipe=report.recipe,
        inputs={str(record.id): record.digest},
        code_version=distribution_version("roost"),
        device=plan.device,
        started_s=started_s,
        ended_s=ended_s,
        parameters={"golden": report.evidence.golden_digest, "prompts": len(plan.prompts)},
    )


def _size_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())

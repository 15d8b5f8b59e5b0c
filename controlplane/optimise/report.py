"""What a job found out: the report in numbers, as JSON, as metrics, and as a table for people."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from contracts.ids import VersionId
from contracts.units import format_bytes
from controlplane.optimise.making import Made
from controlplane.optimise.tables import RowsReport
from controlplane.optimise.timing import Timing
from registry.golden import Difference, Quality

SMALLER: Final = 0.9


@dataclass(frozen=True)
class Evidence:
    """What golden prompts or rows showed; what a kind of model doesn't have is None."""

    timing: Timing
    difference: Difference | None = None
    quality: Quality | None = None
    rows: RowsReport | None = None
    peak_memory_before_bytes: int | None = None
    peak_memory_after_bytes: int | None = None
    golden_digest: str = ""


@dataclass(frozen=True)
class OptimiseReport:
    """One job's outcome; ``version`` is None as long as nothing is registered."""

    parent: VersionId
    recipe: str
    size_before_bytes: int
    size_after_bytes: int
    made: Made
    evidence: Evidence
    duration_s: float
    version: VersionId | None = None
    digest: str = ""

    @property
    def size_ratio(self) -> float:
        """Size after ÷ before."""
        return self.size_after_bytes / self.size_before_bytes

    @property
    def quantised_share(self) -> float:
        """Share of the version's weights that are kept in eight bits or fewer."""
        return self.made.quantised_parameters / self.made.parameters if self.made.parameters else 0.0

    @property
    def has_gain(self) -> bool:
        """Tell whether the version is smaller by a tenth, or surely faster by a twentieth."""
        return self.size_ratio <= SMALLER or self.evidence.timing.is_faster

    def to_dict(self) -> dict[str, Any]:
        """Return the report with stable keys."""
        evidence = self.evidence
        return {
            "version": str(self.version) if self.version else None,
            "digest": self.digest or None,
            "parent": str(self.parent),
            "recipe": self.recipe,
            "has_gain": self.has_gain,
            "size_before_bytes": self.size_before_bytes,
            "size_after_bytes": self.size_after_bytes,
            "size_ratio": self.size_ratio,
            "parameters": self.made.parameters or None,
            "quantised_share": self.quantised_share if self.made.parameters else None,
            "time": evidence.timing.model_dump(),
            "peak_memory_before_bytes": evidence.peak_memory_before_bytes,
            "peak_memory_after_bytes": evidence.peak_memory_after_bytes,
            "making_peak_memory_bytes": self.made.peak_memory_bytes,
            "difference": asdict(evidence.difference) if evidence.difference else None,
            "quality": asdict(evidence.quality) if evidence.quality else None,
            "rows": evidence.rows.model_dump(exclude={"timing"}) if evidence.rows else None,
            "golden_digest": evidence.golden_digest or None,
            "defaults": self.made.defaults.model_dump(mode="json"),
            "duration_s": self.duration_s,
        }

    def metrics(self) -> dict[str, float]:
        """Return the numbers that MLflow keeps; what was not measured is left out."""
        evidence = self.evidence
        difference, quality, rows = _parts(evidence)
        found: dict[str, float | None] = {
            "size_ratio": self.size_ratio,
            "time_ratio": evidence.timing.ratio,
            "quantised_share": self.quantised_share if self.made.parameters else None,
            "peak_memory_before_bytes": evidence.peak_memory_before_bytes,
            "peak_memory_after_bytes": evidence.peak_memory_after_bytes,
            "psnr_db": difference.psnr_db if difference else None,
            "identical_pictures": difference.identical if difference else None,
            "quality_before": quality.before if quality else None,
            "quality_after": quality.after if quality else None,
            "rows_agreement": rows.agreement if rows else None,
        }
        return {f"optimise.{name}": float(value) for name, value in found.items() if value is not None}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return lines for people: what, before, after, and what that means."""
        timing, evidence = self.evidence.timing, self.evidence
        lines = [
            (
                "size",
                format_bytes(self.size_before_bytes),
                format_bytes(self.size_after_bytes),
                f"{self.size_ratio:.2f} ×",
            ),
            (
                "time",
                f"{timing.before_s * 1000:.2f} ms",
                f"{timing.after_s * 1000:.2f} ms",
                (
                    f"{timing.ratio:.2f} × ({1 / timing.ratio:.1f} times as fast), "
                    f"quicker in {timing.won} of {timing.pairs} pairs"
                ),
            ),
        ]
        if evidence.peak_memory_before_bytes and evidence.peak_memory_after_bytes:
            before, after = evidence.peak_memory_before_bytes, evidence.peak_memory_after_bytes
            lines.append(("peak memory", format_bytes(before), format_bytes(after), f"{after / before:.2f} ×"))
        if self.made.parameters:
            total = f"of {self.made.parameters / 1e6:.2f} M weights"
            lines.append(("quantised", "", f"{self.quantised_share:.0%}", total))
        return lines + _evidence_lines(evidence)


def _parts(evidence: Evidence) -> tuple[Difference | None, Quality | None, RowsReport | None]:
    return evidence.difference, evidence.quality, evidence.rows


def _evidence_lines(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    difference, quality, rows = _parts(evidence)
    lines = []
    if difference is not None:
        psnr = "identical" if difference.psnr_db is None else f"{difference.psnr_db:.1f} dB"
        told = (
            f"PSNR on {difference.pictures} golden prompts, largest difference {difference.largest_difference} of 255"
        )
        lines.append(("difference", "", psnr, told))
    if quality is not None:
        told = f"on {quality.judged} golden prompts"
        lines.append((quality.scorer, f"{quality.before:.3f}", f"{quality.after:.3f}", told))
    if rows is not None:
        told = f"of {rows.rows} golden rows answered alike, probabilities within {rows.largest_difference:.1e}"
        lines.append(("agreement", "", f"{rows.agreement:.2%}", told))
    return lines

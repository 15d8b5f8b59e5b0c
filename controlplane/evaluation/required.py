"""A comparison that a service asks for before a version may get traffic: kept, of these very bytes, and passed."""

from contracts.errors import RoostError
from contracts.ids import VersionId, VersionRef
from contracts.specs.service import ServiceSpec
from controlplane.evaluation.comparing import open_comparisons
from controlplane.settings import Settings
from evaluation.side_by_side.precondition import ComparisonRecords, check_precondition
from registry.catalogue import Catalogue, VersionRecord


class RequiredComparison:
    """A precondition of rollouts; ``records`` are the home's kept comparisons unless others are handed in."""

    def __init__(self, settings: Settings, catalogue: Catalogue, records: ComparisonRecords | None = None) -> None:
        self._settings, self._catalogue, self._records = settings, catalogue, records

    def why_not(self, spec: ServiceSpec, champion: VersionId, challenger: VersionRecord) -> str:
        """Return why the challenger may not be tried, "" when a comparison allows it or none is asked for."""
        wanted = spec.require
        if wanted is None or not wanted.comparison:
            return ""
        command = f"roost eval compare {champion} {challenger.id} --prompts FILE"
        try:
            before = self._catalogue.get(VersionRef(champion.model, number=champion.number)).digest
            records = self._records or open_comparisons(self._settings)
            found = check_precondition(records, before, challenger.digest, prompts_digest=wanted.prompts)
        except RoostError as error:
            return f"the comparisons that {spec.service} asks for can't be read: {error.message}"
        if found.record is None:
            return f"{spec.service} asks for a comparison with {champion}: there is {found.reason}; make it: {command}"
        return "" if found.is_met else f"the comparison with {champion} found: {found.reason}"

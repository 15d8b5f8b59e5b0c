"""The versions of the demo on a running system: registered, or built from one another."""

import tempfile
import time
from pathlib import Path

from contracts.errors import InvalidInput
from contracts.ids import VersionId, VersionRef
from contracts.units import format_bytes
from contracts.wire.worker import FaultDrill
from controlplane.demo.model.versions import assemble, find_version
from controlplane.demo.scenario import FASTER, Scenario
from controlplane.demo.show import Scene, Stage
from controlplane.demo.variant import VariantBuild
from controlplane.settings import Settings
from registry.catalogue import Catalogue, Registration, VersionRecord

POLL_S = 0.2


class Versions:
    """The versions that a scenario names, by their names there."""

    def __init__(self, catalogue: Catalogue, settings: Settings, scenario: Scenario, model: str, stage: Stage) -> None:
        self._catalogue, self._settings, self._scenario = catalogue, settings, scenario
        self._model, self._stage = model, stage
        self._known: dict[str, VersionRecord] = {}
        self._build: VariantBuild | None = None

    def register_champion(self) -> VersionRecord:
        """Register the version that serves first."""
        return self._register(self._scenario.champion)

    def register_challengers(self) -> None:
        """Register the challengers that are not to be built."""
        for name in dict.fromkeys(case.version for case in self._scenario.cases):
            if name != FASTER and name not in self._known:
                self._register(name)

    def begin_build(self) -> None:
        """Begin to build the faster version beside all else, if the scenario has one."""
        if any(case.version == FASTER for case in self._scenario.cases):
            first = self._known[self._scenario.champion]
            self._build = VariantBuild(self._settings, first.id)
            self._stage.say(f"… a faster version is being built from {first.id} while users are served")

    @property
    def aside(self) -> str:
        """What is being built, "" for nothing."""
        going_on = self._build is not None and not self._build.is_over
        return f"meanwhile, the faster version: {self._build.step}" if going_on and self._build else ""

    def peek(self, name: str) -> VersionId | None:
        """Return a version by its name, None while it isn't there."""
        if name == FASTER and self._build is not None and self._build.is_built:
            return self.find(name)
        return self._known[name].id if name in self._known else None

    def find(self, name: str) -> VersionId:
        """Return a version by its name; waits for the one that is being built.

        Raises:
            InvalidInput: when the scenario has none of that name.
            RoostError: what kept the faster version from being built.
        """
        if name == FASTER and name not in self._known:
            self._known[name] = self._built()
        if name not in self._known:
            raise InvalidInput(f"the scenario names no version {name!r}")
        return self._known[name].id

    def _built(self) -> VersionRecord:
        if self._build is None:
            raise InvalidInput("no faster version is being built")
        while not self._build.is_over:
            self._stage.show(Scene(f"the faster version is being built: {self._build.step}", 0.0))
            time.sleep(POLL_S)
        built = self._build.result()
        record = self._catalogue.get(VersionRef(built.version.model, number=built.version.number))
        self._stage.say(f"✔ {record.id} built, proven and profiled: {built.story}, {_identity(record)}")
        return record

    def _register(self, name: str) -> VersionRecord:
        version = find_version(name)
        with tempfile.TemporaryDirectory() as folder:
            directory = assemble(name, Path(folder) / "pipeline")
            registration = Registration(
                directory,
                description=f"{name}: {version.lesson}",
                defaults=version.defaults,
                faults=FaultDrill.model_validate(version.faults),
            )
            record = self._known[name] = self._catalogue.register(self._model, registration)
        self._stage.say(f"✔ {record.id} registered: {name}, {_identity(record)}")
        return record


def _identity(record: VersionRecord) -> str:
    return f"{format_bytes(record.size_bytes)}, {record.digest[:19]}…"

"""Whether a service is frozen: by a person, by the calendar, or because its error budget is spent."""

from collections.abc import Sequence

from contracts.clock import Clock
from contracts.errors import NotFound
from contracts.specs.service import ServiceSpec
from contracts.specs.watch import is_within
from contracts.units import format_fraction
from controlplane.guard.budgets import Budgets
from controlplane.store.freezes import ALL, Freeze
from controlplane.stores import Stores


class Freezing:
    """Tells why a service is frozen now; ``budgets`` is None where no history is kept."""

    def __init__(self, stores: Stores, clock: Clock, budgets: Budgets | None = None) -> None:
        self._stores, self._clock, self._budgets = stores, clock, budgets

    def why_frozen(self, service: str) -> str:
        """Return why nothing may be rolled out to a service now, or ""."""
        try:
            spec = self._stores.services.get(service).spec
        except NotFound:
            return ""
        return self.why(spec, self._stores.freezes.active())

    def why(self, spec: ServiceSpec, active: Sequence[Freeze]) -> str:
        """Return the same, given the freezes by hand that hold."""
        for freeze in active:
            if freeze.service in {ALL, spec.service}:
                return f"{spec.service} is frozen by {freeze.actor}: {freeze.reason} (freeze {freeze.id})"
        if spec.freeze is None:
            return ""
        for weekly in spec.freeze.weekly:
            if is_within(weekly, self._clock.now_s()):
                return f"{spec.service} is frozen each week, {weekly} UTC"
        return self._why_spent(spec, spec.freeze.budget_below)

    def _why_spent(self, spec: ServiceSpec, least: float | None) -> str:
        if least is None or self._budgets is None:
            return ""
        for name, left in self._budgets.left(spec).items():
            if left < least:
                told = f"{format_fraction(max(left, 0.0))} of the error budget of {name} is left"
                return f"{spec.service} is frozen: {told}, and rollouts need {format_fraction(least)}"
        return ""

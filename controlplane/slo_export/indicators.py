"""What each objective counts, as selectors on the metrics that the gateway exports."""

from dataclasses import dataclass

from contracts.specs.service import ServiceSpec
from contracts.specs.slo import LatencySlo, ScoreSlo, Slo
from contracts.units import format_duration, parse_duration_s


@dataclass(frozen=True, slots=True)
class Indicator:
    """An objective's counters: ``bad`` and ``total`` select them; a mean score has none."""

    service: str
    name: str
    slo: Slo
    bad: str = ""
    total: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its recorded series."""
        return {"service": self.service, "objective": self.name}

    @property
    def selector(self) -> str:
        """Its labels as matchers."""
        return f'{{service="{self.service}",objective="{self.name}"}}'

    @property
    def promise(self) -> str:
        """The objective in words."""
        share = f"{self.slo.objective:.4%}".rstrip("%").rstrip("0").rstrip(".") + " %"
        if isinstance(self.slo, ScoreSlo):
            return f"a mean {self.slo.scorer} score of {share}"
        if isinstance(self.slo, LatencySlo):
            return f"{share} of attempts within {format_duration(self.slo.threshold)}"
        return f"{share} of requests answered"


def prometheus_duration(duration_s: float) -> str:
    """Return a duration as Prometheus reads it, as short as it can be said exactly."""
    text = format_duration(duration_s)
    return text if "." not in text and parse_duration_s(text) == duration_s else f"{round(duration_s * 1000)}ms"


def indicators(spec: ServiceSpec) -> list[Indicator]:
    """Return every objective of a service; availability is of requests, as users see it, latency of attempts."""
    lanes = spec.lane_objectives()
    return [_indicator(spec.service, name, slo, lanes.get(name, "")) for name, slo in spec.objectives().items()]


def _indicator(service: str, name: str, slo: Slo, lane: str) -> Indicator:
    if isinstance(slo, ScoreSlo):
        return Indicator(service, name, slo)
    place = f'service="{service}"' + (f',lane="{lane}"' if lane else "")
    if isinstance(slo, LatencySlo):
        return Indicator(
            service,
            name,
            slo,
            f'roost_gateway_slow_attempts_total{{{place},traffic!="mirror",objective="{name}"}}',
            f'roost_gateway_attempts_total{{{place},traffic!="mirror",outcome!="cancelled"}}',
        )
    return Indicator(
        service,
        name,
        slo,
        f'roost_gateway_requests_total{{{place},outcome!~"good|cancelled"}}',
        f'roost_gateway_requests_total{{{place},outcome!="cancelled"}}',
    )

"""Opening what ``telemetry.yaml`` names, beside the gateways."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from contracts.clock import Clock
from contracts.rng import Rng
from contracts.specs.service import ServiceSpec
from controlplane.loop.ports import DataPlane
from controlplane.telemetry_sources.joined import JoinedDataPlane
from controlplane.telemetry_sources.prometheus import PrometheusSource
from controlplane.telemetry_sources.prometheus_server import PrometheusServer
from controlplane.telemetry_sources.settings import FILE, PrometheusTelemetry, load_telemetry

SpecOf = Callable[[str], ServiceSpec]


@contextmanager
def joined_telemetry(
    home: Path, gateways: DataPlane, spec_of: SpecOf, clock: Clock, rng: Rng
) -> Iterator[JoinedDataPlane]:
    """Yield the gateways, joined with the sources that a home's ``telemetry.yaml`` names, if there is one.

    ``spec_of`` returns a service's newest spec; `NotFound` when there is none yet.

    Raises:
        SpecError: when the file has mistakes.
        InvalidInput: when the token it names isn't there.
    """
    told = load_telemetry(home / FILE)
    if told is None:
        yield JoinedDataPlane(gateways, {})
        return
    token = told.token.read(home) if told.token is not None else None
    with PrometheusServer(told.url, token) as server:
        sources = _Sources(told, server, spec_of, clock, rng)
        yield JoinedDataPlane(gateways, {name: partial(sources.find, name) for name in told.services})


class _Sources:
    """One source per service, made anew when its spec has changed; what was counted is not counted again."""

    def __init__(
        self, told: PrometheusTelemetry, server: PrometheusServer, spec_of: SpecOf, clock: Clock, rng: Rng
    ) -> None:
        self._told, self._server, self._spec_of, self._clock, self._rng = told, server, spec_of, clock, rng
        self._made: dict[str, tuple[ServiceSpec, PrometheusSource]] = {}

    def find(self, name: str) -> PrometheusSource:
        """Return a service's source.

        Raises:
            NotFound: when there is no such service.
            InvalidInput: when its spec wants what Prometheus can't tell.
        """
        spec, known = self._spec_of(name), self._made.get(name)
        if known is None or known[0] != spec:
            since_s = known[1].read_until_s if known is not None else None
            service = self._told.services[name]
            source = PrometheusSource(self._server, service, spec, clock=self._clock, rng=self._rng, since_s=since_s)
            known = self._made[name] = spec, source
        return known[1]

"""The gateway process: ``python -m serving.gateway.main``, told its ``GatewaySpec`` on standard input."""

from contracts.clock import SystemClock
from contracts.rng import SystemRng
from contracts.wire.worker import GatewaySpec
from serving.gateway.app import Gateway
from serving.process import read_spec, serve_until_parent_ends


def main() -> None:
    """Serve until the parent ends."""
    spec = GatewaySpec.model_validate_json(read_spec())
    serve_until_parent_ends(Gateway(spec, SystemClock(), SystemRng()).app(), spec.host, spec.port)


if __name__ == "__main__":
    main()

"""``python -m controlplane.server OPTIONS``: a control plane in the background; its options are one JSON document."""

import json
import sys

from contracts.errors import RoostError
from controlplane.server.options import ServerOptions
from controlplane.server.process import leave, run_server


def main() -> None:
    """Run until told to end; an error that keeps it from starting is the last line for whoever started it."""
    try:
        run_server(ServerOptions.model_validate_json(sys.argv[1]), lambda line: None)
    except RoostError as error:
        print(json.dumps(error.to_dict()), file=sys.stderr)  # noqa: T201 - for who started it
        leave(error.exit_status)
    leave(0)


if __name__ == "__main__":
    main()

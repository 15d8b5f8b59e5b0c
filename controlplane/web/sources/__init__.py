"""Where pages read from: the decision ledger, the version store, telemetry history and reports of one home."""

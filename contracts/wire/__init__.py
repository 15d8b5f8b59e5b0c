"""What the planes say to each other: routing tables, telemetry batches, the worker protocol."""

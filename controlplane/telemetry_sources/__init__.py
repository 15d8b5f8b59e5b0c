"""Telemetry of traffic that does not pass the gateway."""

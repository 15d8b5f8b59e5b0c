"""Fleets: where workers run and how they are started and stopped."""

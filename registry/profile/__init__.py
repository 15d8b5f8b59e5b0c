"""Profiles: what a version needs and gives on the device that will serve it, measured and fitted."""

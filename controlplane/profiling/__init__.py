"""Measuring versions: real worker processes behind the ports of `registry.profile` and `registry.tuning`."""

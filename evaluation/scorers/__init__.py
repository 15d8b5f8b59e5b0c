"""Scorers: judges of outputs, each a number in [0, 1] or no data with a reason."""

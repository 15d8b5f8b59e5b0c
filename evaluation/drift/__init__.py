"""Drift: sequential detectors that decide with a stated false-alarm rate, and Evidently's figures beside them."""

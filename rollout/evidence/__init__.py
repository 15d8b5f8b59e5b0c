"""Evidence that may be looked at after every request: e-processes, confidence sequences, the checks of the data."""

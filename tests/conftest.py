"""What all tests share: property tests without a deadline, for a busy machine is no failure."""

import os

from hypothesis import settings

# Before torch is loaded: its threads would spin while they wait, and tests run side by side.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

settings.register_profile("roost", settings(), deadline=None)
settings.load_profile("roost")

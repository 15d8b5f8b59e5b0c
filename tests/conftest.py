"""What all tests share: property tests without a deadline, for a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("roost", settings(), deadline=None)
settings.load_profile("roost")

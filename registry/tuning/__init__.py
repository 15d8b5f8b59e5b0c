"""Tuning: the settings and recipes that serve an objective best, found within a budget of time."""

"""Optimisation jobs: a version made smaller or faster in child processes, proven by golden prompts, then registered."""

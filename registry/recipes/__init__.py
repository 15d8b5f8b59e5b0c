"""Optimisation recipes: small changes that make a version smaller, faster, or both, and say what they need."""

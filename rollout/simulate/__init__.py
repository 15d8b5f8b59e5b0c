"""Rollouts in virtual time: scenarios as data, and an engine that runs hundreds of them at once."""

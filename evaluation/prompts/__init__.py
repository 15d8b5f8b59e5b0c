"""Prompt sets: the fixed questions that versions are compared on, each with its own seed."""

"""Runtimes: how a version's directory becomes something that draws."""

"""Roost's decisions: pure functions of values, with error rates that hold however often one looks.

``compile_policy`` turns what a person wrote into a ``Policy``; ``start`` and ``decide`` run a rollout with it, one tick
at a time. Nothing here reads a clock, draws a random number or touches the world.
"""

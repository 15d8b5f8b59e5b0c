"""Python's garbage collector, set for a process that keeps much and makes much that dies by itself."""

import gc

YOUNG, MIDDLE, OLD = 200_000, 50, 100


def collect_seldom() -> None:
    """Look for cycles seldom: a tick of a thousand rollouts makes some hundred thousand objects, none in a cycle.

    With the defaults a quarter of its CPU goes into looking through all that is kept.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)

"""Limits by comparison: what `max(least, min(most, value))` says at a third of its price. One decision has two dozen of
them, and a simulation millions of decisions.
"""

from __future__ import annotations


def between(least: float, value: float, most: float) -> float:
    """The value, or the limit that it is beyond. least <= most."""
    return least if value < least else most if value > most else value

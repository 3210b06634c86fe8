"""Chance with a seed: the same words give the same draws, on every machine and version."""

from __future__ import annotations

from random import Random as Chance

__all__ = ["Chance", "seeded"]


def seeded(*words: object) -> Chance:
    """A source of draws for one purpose, named by its seed and whatever tells it from others."""
    return Chance(" ".join(map(str, words)))  # noqa: S311 - the same chance each time is what is wanted

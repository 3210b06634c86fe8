"""Two versions of one model: which of them a job is for, and whether the new one is worse.

Which: a hash of what is sticky (the tenant, or the job) and of the rollout's two names falls on a place between 0 and
100, and the canary has the places below its weight. So no state is kept, every gateway chooses alike, and a greater
weight only adds to those that the canary has.
"""

from __future__ import annotations

import hashlib
import math

from springtide.domain.ids import ModelName
from springtide.domain.rollout import Rollout, RolloutState, VersionState

_PLACES = 2.0**64 / 100.0


def place_of(salt: bytes, key: str) -> float:
    """Where a key falls, from 0 to 100, as if by chance."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8, key=salt).digest()) / _PLACES


def salt_of(model: ModelName, canary: str) -> bytes:
    """What makes each rollout choose others than the one before; the same in every process."""
    return hashlib.blake2b(f"{model}@{canary}".encode(), digest_size=16).digest()


def floor_of(min_replicas: int, weight: float) -> int:
    """Of the workers that are kept alive when idle, those of a version with this weight: at least one where it has
    any."""
    return math.ceil(min_replicas * weight / 100.0)


def state_of(rollout: Rollout | None, version: str, *, first: str) -> VersionState:
    """What a version is in the last rollout of its model: `stable`, `canary`, `aborted`, `retired` (it was the stable
    one) or `declared` (nothing goes there but by name). first: the version of the model's own table."""
    if rollout is None:
        return "stable" if version == first else "declared"
    if version == rollout.serving:
        return "stable"
    if version == rollout.canary:
        return "canary" if rollout.is_running else "aborted"
    return "retired" if version == rollout.stable and rollout.state is RolloutState.PROMOTED else "declared"

"""Who gets the accelerators when models want more of them than there are: `share(claims, now_s, memory, settings)`.

Everybody keeps what is busy. What is left goes, one replica at a time, to the model with the greatest weighted need:
the work that waits for it, as a multiple of what it can do within its objective with the replicas it has been given. A
replica that is there already counts for it with the cold start it saves, so that two equal models do not take turns.
An idle replica of one model is taken for another that starves, at most once in `calm_s` a model: a load that is undone
before it has paid for itself is what thrashing is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what its policy wishes for, and how badly it is needed."""

    wish: int
    idle: int = 0
    busy: int = 0
    loading: int = 0
    draining: int = 0
    waiting: int = 0
    work_s: float = 0.0  # predicted, waiting and running
    wait_s: float = 30.0  # objective
    cold_start_s: float = 40.0
    weight: float = 1.0


class ShareSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, and how long a model keeps what it was given."""

    accelerators: int
    calm_factor: float = 2.0  # a load must be of use for twice the time it took


class ShareMemory(msgspec.Struct, frozen=True, kw_only=True):
    """When each model last grew: what it was given is not taken back at once."""

    grew_at_s: dict[str, float] = {}


def share(
    claims: Mapping[str, Claim], now_s: float, memory: ShareMemory, settings: ShareSettings
) -> tuple[dict[str, int], ShareMemory]:
    """Replicas for each model; never more in all than there are, and never fewer than are busy."""
    held = {name: _held(name, claim, now_s, memory, settings) for name, claim in claims.items()}
    grants = dict(held)
    left = settings.accelerators - sum(grants.values()) - sum(claim.draining for claim in claims.values())
    while left > 0:
        needy = [name for name, claim in claims.items() if grants[name] < claim.wish]
        if not needy:
            break
        first = max(needy, key=lambda name: (_need(claims[name], grants[name]), name))
        grants[first] += 1
        left -= 1
    grew = {
        name: now_s if grants[name] > _there(claims[name]) else memory.grew_at_s.get(name, -1e18) for name in claims
    }
    room = settings.accelerators - sum(_there(claim) + claim.draining for claim in claims.values())
    for name in sorted(claims, key=lambda name: (-_need(claims[name], _there(claims[name])), name)):
        more = grants[name] - _there(claims[name])  # launches wait until those that make room for them are gone
        if more > 0:
            given = max(0, min(more, room))
            grants[name] -= more - given
            room -= given
    return grants, ShareMemory(grew_at_s=grew)


def _held(name: str, claim: Claim, now_s: float, memory: ShareMemory, settings: ShareSettings) -> int:
    """What cannot be taken from it: what is busy or loads, and, for a while, what it was given."""
    least = claim.busy + claim.loading
    if now_s - memory.grew_at_s.get(name, -1e18) < settings.calm_factor * claim.cold_start_s:
        least = max(least, min(claim.wish, _there(claim)))
    return least


def _need(claim: Claim, replicas: int) -> float:
    """Weighted pressure with so many replicas: jobs' work against what they do within the objective."""
    pressure = claim.work_s / ((replicas + 0.5) * claim.wait_s)
    if replicas < _there(claim):
        pressure *= 1.0 + claim.cold_start_s / claim.wait_s  # this one would not have to load
    if replicas == 0 and claim.waiting:
        pressure += 1.0
    return claim.weight * (pressure + 1e-3 * (claim.wish - replicas))


def _there(claim: Claim) -> int:
    return claim.idle + claim.busy + claim.loading

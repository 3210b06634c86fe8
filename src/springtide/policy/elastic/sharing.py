"""Who gets the room when models want more of it than there is: `share(claims, now_s, memory, settings)`.

Room is accelerators, processors, memory: whatever the budget names. Loading replicas stay, and for a while what was
just given. What is left goes, one replica at a time, to the model with the greatest weighted need: how long its work
would take with the replicas it has been given, as a multiple of the wait it aims at. A replica that is there counts
with the cold start that another would cost, and twice where it runs a job, so equal models do not take turns; and none
is taken within `calm_factor` starts of its own: a load undone before it has paid for itself is what thrashing is.

A model whose jobs wait and that has had no replica for `patience_factor` times objective and start is served before
all others: nobody starves, however long the queue of another. One whose replicas only crash comes last. Who is asked to
go finishes what it runs: room is made by draining, and a launch waits until there is some.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

BUSY_WORTH = 2.0  # what runs has a claim on its place: another must be in twice the need
FORECAST_WORTH = 1e-3  # a wish without work: only where nobody has any
EPSILON = 1e-9  # sums of fractions of an accelerator


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what its policy wishes for, and how badly it is needed."""

    wish: int
    least: int = 0  # of it, what the operator has promised
    idle: int = 0
    busy: int = 0
    loading: int = 0
    draining: int = 0
    failing: int = 0  # wait for another start: they take no room
    waiting: int = 0
    work_s: float = 0.0  # predicted, waiting and running
    wait_s: float = 30.0  # objective
    cold_start_s: float = 40.0
    weight: float = 1.0
    takes: dict[str, float] = msgspec.field(default_factory=lambda: {"accelerators": 1.0})  # room for each replica

    @property
    def there(self) -> int:
        """Replicas that take room and are to stay."""
        return self.idle + self.busy + self.loading


class ShareSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of what, and how long a model keeps what it was given."""

    budget: dict[str, float]
    calm_factor: float = 2.0  # a load must be of use for twice the time it took
    patience_factor: float = 3.0


class ShareMemory(msgspec.Struct, frozen=True, kw_only=True):
    """When each model last grew, and since when it has had jobs and no replica."""

    grew_at_s: dict[str, float] = {}
    bare_since_s: dict[str, float] = {}


def share(
    claims: Mapping[str, Claim], now_s: float, memory: ShareMemory, settings: ShareSettings
) -> tuple[dict[str, int], ShareMemory]:
    """Replicas for each model. What is there and what is launched never takes more room than the budget has, unless it
    did before; no model gets more than it wishes for."""
    bare = {
        name: memory.bare_since_s.get(name, now_s)
        for name, claim in claims.items()
        if claim.waiting and not claim.there
    }
    grants = {name: _held(name, claim, now_s, memory, settings) for name, claim in claims.items()}
    left = _Room(settings.budget)
    for name, claim in claims.items():
        left.take(claim, grants[name] + claim.draining)
    bare_s = {name: now_s - bare.get(name, now_s) for name in claims}
    only_there = False  # the neediest has no room yet: nobody may start anew in what is being gathered for it
    needy = {name for name, claim in claims.items() if grants[name] < claim.wish}
    while needy:
        first = max(needy, key=lambda name: (*rank(claims[name], grants[name], bare_s[name], settings), name))
        claim = claims[first]
        is_new = grants[first] >= claim.there
        if left.fits(claim) and not (only_there and is_new):
            grants[first] += 1
            left.take(claim, 1)
            if grants[first] >= claim.wish:
                needy.discard(first)
        else:
            only_there = only_there or _is_possible(claim, settings)
            needy.discard(first)
    first_come = sorted(
        claims, key=lambda name: (*rank(claims[name], claims[name].there, bare_s[name], settings), name), reverse=True
    )
    grants = _launchable({name: claims[name] for name in first_come}, grants, settings)
    grew = {
        name: now_s if grants[name] > claim.there else memory.grew_at_s.get(name, -1e18)
        for name, claim in claims.items()
    }
    return grants, ShareMemory(grew_at_s=grew, bare_since_s=bare)


def rank(claim: Claim, replicas: int, bare_s: float, settings: ShareSettings) -> tuple[int, float]:
    """How badly one more than so many is needed: class, then weighted need within it.

    bare_s: for how long it has had jobs and no replica."""
    if claim.failing and not claim.there:
        return -1, claim.weight
    if replicas < claim.least:
        return 2, claim.weight
    if replicas == 0 and bare_s > settings.patience_factor * (claim.wait_s + claim.cold_start_s):
        return 1, claim.weight * bare_s
    need = claim.work_s / ((replicas + 0.5) * claim.wait_s)
    if replicas < claim.there:
        # Another would have to load first; without any work it gives way to work, but not to a mere forecast.
        need += claim.cold_start_s / claim.wait_s if claim.work_s > 0 else 2 * FORECAST_WORTH
        need *= BUSY_WORTH if replicas < claim.busy else 1.0
    if claim.waiting and replicas == 0:
        need += 1.0 + bare_s / claim.wait_s
    wished = max(0.0, claim.wish - replicas) / max(1, claim.wish)
    return 0, claim.weight * need + FORECAST_WORTH * wished


def _held(name: str, claim: Claim, now_s: float, memory: ShareMemory, settings: ShareSettings) -> int:
    """What cannot be taken from it: what loads, what was promised and, for a while, what it was given."""
    least = max(claim.loading, min(claim.least, claim.there))
    if now_s - memory.grew_at_s.get(name, -1e18) < settings.calm_factor * claim.cold_start_s:
        least = max(least, min(claim.wish, claim.there))
    return least


def _launchable(claims: Mapping[str, Claim], grants: dict[str, int], settings: ShareSettings) -> dict[str, int]:
    """The same without launches for which there is no room before others have gone. Claims: the neediest first."""
    room = _Room(settings.budget)
    for claim in claims.values():
        room.take(claim, claim.there + claim.draining)
    given = {name: min(grants[name], claim.there) for name, claim in claims.items()}
    for name, claim in claims.items():
        while given[name] < grants[name] and room.fits(claim):
            given[name] += 1
            room.take(claim, 1)
    return given


def _is_possible(claim: Claim, settings: ShareSettings) -> bool:
    return _Room(settings.budget).fits(claim)


class _Room:
    """What is left of the budget; below zero where more is taken than there is."""

    def __init__(self, budget: Mapping[str, float]) -> None:
        self._left = dict(budget)

    def take(self, claim: Claim, replicas: int) -> None:
        for what, much in claim.takes.items():
            if what in self._left:
                self._left[what] -= much * replicas

    def fits(self, claim: Claim) -> bool:
        return all(much <= self._left.get(what, much) + EPSILON or much == 0 for what, much in claim.takes.items())

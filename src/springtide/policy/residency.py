"""Which models a worker that hosts several keeps in memory: `arrange(residents, budget_mb, now_s) -> Plan`.

A model is loaded when there is work for it, in the order in which work for them arrived. Room is made by unloading the
one that was used longest ago, never one that runs jobs. Where all that are loaded are busy, the first in the row waits
at most PATIENCE_S; then those that have been loaded longest take no more work and leave when they are idle. So a model
waits at most for PATIENCE_S, the longest run and a load, times its place in the row, however busy the others are.

A model alone may take more than the budget: it could never run otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from springtide.domain.ids import ModelName

PATIENCE_S = 30.0  # several times a usual load: with two busy models most of the time goes into work


class Resident(msgspec.Struct, frozen=True, kw_only=True):
    """One hosted model."""

    model: ModelName
    is_loaded: bool = False  # or loading
    is_busy: bool = False  # runs jobs, loads, or is about to run the job it was loaded for
    is_leaving: bool = False  # takes no more work
    memory_mb: float = 0.0  # as measured, or as the configuration says; 0: not known yet
    loaded_at_s: float = 0.0
    used_at_s: float = 0.0
    wanted_since_s: float | None = None  # there is work for it, and it is not loaded


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, in this order; and when to ask again if nothing changes before."""

    unload: tuple[ModelName, ...] = ()
    load: tuple[ModelName, ...] = ()
    leave: tuple[ModelName, ...] = ()  # these take no more work
    again_in_s: float | None = None


def arrange(residents: Sequence[Resident], budget_mb: float, now_s: float) -> Plan:
    """One look at all models of a worker."""
    room = _Room(residents, budget_mb)
    row = sorted((one for one in residents if one.wanted_since_s is not None and not one.is_loaded), key=_wanted)
    load: list[ModelName] = []
    leave: tuple[ModelName, ...] = ()
    again_in_s = None
    for one in row:
        if room.make(one.memory_mb):
            room.take(one)
            load.append(one.model)
            continue
        waited_s = now_s - _wanted(one)
        if waited_s >= PATIENCE_S:
            leave = room.clear(one.memory_mb)
        else:
            again_in_s = PATIENCE_S - waited_s
        break  # who came later must not take the room that this one waits for
    return Plan(unload=tuple(room.unloaded), load=tuple(load), leave=leave, again_in_s=again_in_s)


class _Room:
    """The memory, as it is after what was planned so far."""

    def __init__(self, residents: Sequence[Resident], budget_mb: float) -> None:
        self._budget_mb = budget_mb
        self._loaded = {one.model: one for one in residents if one.is_loaded}
        self._taken: set[ModelName] = set()
        self.unloaded: list[ModelName] = []
        for one in list(self._loaded.values()):
            if one.is_leaving and not one.is_busy:
                self._drop(one)
        while self._used_mb() > budget_mb and len(self._loaded) > 1 and (idle := self._idle()):
            self._drop(idle[0])  # one has turned out to be larger than was thought

    def make(self, need_mb: float) -> bool:
        """Unload what is idle until there is room, if that is enough; else nothing."""
        idle = self._idle()
        if not self._fits(need_mb, without=idle):
            return False
        while not self._fits(need_mb, without=()):
            self._drop(idle.pop(0))
        return True

    def take(self, one: Resident) -> None:
        self._loaded[one.model] = msgspec.structs.replace(one, is_loaded=True, is_busy=True)
        self._taken.add(one.model)

    def clear(self, need_mb: float) -> tuple[ModelName, ...]:
        """Who must leave, of those that are busy, for there to be room: the longest loaded first."""
        going = [one for one in self._loaded.values() if not one.is_busy or one.is_leaving]
        leave: list[ModelName] = []
        for one in sorted(self._loaded.values(), key=lambda one: one.loaded_at_s):
            if self._fits(need_mb, without=going):
                break
            if one not in going and one.model not in self._taken:
                going.append(one)
                leave.append(one.model)
        return tuple(leave)

    def _fits(self, need_mb: float, *, without: Sequence[Resident]) -> bool:
        left = [one for one in self._loaded.values() if one not in without]
        return not left or sum(one.memory_mb for one in left) + max(1.0, need_mb) <= self._budget_mb

    def _used_mb(self) -> float:
        return sum(one.memory_mb for one in self._loaded.values())

    def _idle(self) -> list[Resident]:
        """Used longest ago first."""
        return sorted((one for one in self._loaded.values() if not one.is_busy), key=lambda one: one.used_at_s)

    def _drop(self, one: Resident) -> None:
        del self._loaded[one.model]
        self.unloaded.append(one.model)


def _wanted(one: Resident) -> float:
    assert one.wanted_since_s is not None
    return one.wanted_since_s

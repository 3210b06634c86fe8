"""How well calls get through: delays always, and in bad weather every way in which a call can go wrong."""

from __future__ import annotations

import random
from enum import Enum

import msgspec


class Fate(Enum):
    """What becomes of one call."""

    FINE = "fine"
    REFUSED = "refused"  # never arrived, and the caller knows
    LOST_REPLY = "lost reply"  # happened, and the caller does not know
    LATE = "late"  # the caller gives up, and then it happens
    TWICE = "twice"  # happens, is answered, and happens again later


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """Chances of what goes wrong, each call by itself."""

    refused: float = 0.0
    lost_reply: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    slow: float = 0.0  # a delay of seconds where milliseconds are usual

    def fate(self, rand: random.Random) -> Fate:
        roll = rand.random()
        for fate, share in (
            (Fate.REFUSED, self.refused),
            (Fate.LOST_REPLY, self.lost_reply),
            (Fate.LATE, self.late),
            (Fate.TWICE, self.twice),
        ):
            if roll < share:
                return fate
            roll -= share
        return Fate.FINE

    def delay_s(self, rand: random.Random) -> float:
        if self.slow and rand.random() < self.slow:
            return rand.uniform(0.5, 8.0)
        return rand.uniform(0.0001, 0.002)


CALM = Weather()
DRIZZLE = Weather(refused=0.002, lost_reply=0.002, late=0.001, twice=0.004, slow=0.002)
STORM = Weather(refused=0.15, lost_reply=0.15, late=0.05, twice=0.1, slow=0.1)

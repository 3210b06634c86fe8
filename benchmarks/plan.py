"""What every benchmark is told: how much to measure, and where it may write."""

from __future__ import annotations

from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parent


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is enough. Quick runs show that the harness works; their figures are marked and mean little."""

    folder: Path  # on a real disk: what is measured flushes to it
    quick: bool = False
    rounds: int = 4
    seconds: float = 4.0  # aimed length of one throughput measurement
    latency_jobs: int = 100
    spacing_s: float = 0.02  # between jobs at low load: 50 a second keeps every queue empty
    connections: int = 32
    only: tuple[str, ...] = ()  # systems to run; empty: all

    def wants(self, system: str) -> bool:
        return not self.only or system in self.only


def quick_plan(folder: Path) -> Plan:
    """A minute in all: one short round of everything."""
    return Plan(folder=folder, quick=True, rounds=1, seconds=0.5, latency_jobs=10)

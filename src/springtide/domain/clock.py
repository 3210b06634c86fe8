"""How the rest of the code may learn the time: by being handed a clock."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two times and one wait. Simulated in tests, real in `runtime.clock`."""

    def now_s(self) -> float:
        """Seconds since the Unix epoch: for instants that are stored or shown."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start, never backwards: for durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long in this clock's time."""
        ...


def in_words(seconds: float) -> str:
    """A span of time as one says it: 30 days, 90 minutes."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} seconds"

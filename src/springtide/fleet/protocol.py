"""What every fleet does. Siblings: `local` (processes on this machine), `kubernetes` (pods).

Promise: a busy worker is never killed by scaling. Scaling in asks workers to drain; they finish what they run, then go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from springtide.domain.fleet import Decision, Replica
from springtide.domain.ids import WorkerId


class Fleet(Protocol):
    """The hands of the controller."""

    async def start(self) -> None: ...

    async def stop(self, grace_s: float) -> None:
        """Drain every worker that lives no longer than this process; after `grace_s` those left are killed (their jobs
        go back to the queue). Pods stay."""
        ...

    async def observe(self) -> list[Replica]:
        """Every worker that is wanted, running or on its way out. Raises Unavailable where that was never seen; what
        was seen last holds while it cannot be seen again."""
        ...

    async def drain(self, workers: Sequence[WorkerId]) -> None:
        """Ask these to finish what they hold and leave, for good: `apply` fills their places, if it is to. Those that
        leave already, or are not of this fleet, are passed over."""
        ...

    async def apply(self, decision: Decision, *, drain_first: Sequence[WorkerId]) -> None:
        """Bring a model to the decided number. Workers named in `drain_first` (idle ones) leave before others. Said
        again with each round: what could not be done now is tried again, and nothing is done twice."""
        ...

"""The gateway's part of a job's trace: the request that brought it, uploads included, until the job is on disk.

Told of jobs that are new, whichever way they came; a request that repeats an earlier one adds nothing to its trace.
"""

from __future__ import annotations

from collections.abc import Iterable

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.ledger.protocol import Inserted
from springtide.telemetry import tracing


def began_s(clock: Clock) -> float:
    """When a request came; 0 where no traces are told."""
    return clock.now_s() if tracing.is_on() else 0.0


def tell_accepted(clock: Clock, since_s: float, results: Iterable[Inserted | SpringtideError]) -> None:
    """since_s: what `began_s` said."""
    if not since_s:
        return
    now_s = clock.now_s()
    for one in results:
        if isinstance(one, Inserted) and one.is_new:
            job, span = one.job, ("accept",)
            tracing.tell(job.id, job.traceparent, "accept", what=span, start_s=since_s, end_s=now_s, model=job.model)

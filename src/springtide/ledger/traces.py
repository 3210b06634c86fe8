"""The jobs on record as a trace that the simulator reads: one line for each job that came to a result.

For `springtide trace export` and `GET /v1/scaling/trace`. Read page by page: a month of jobs is never in memory.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from springtide.domain.ids import ModelName
from springtide.ledger.history import FleetHistory, Ran

HEADER = "arrival_s,model,tenant,seconds,predicted_s\n"
PAGE = 2000  # rows read at once


async def ran_since(
    history: FleetHistory, since_s: float, *, model: ModelName | None = None
) -> AsyncGenerator[list[Ran]]:
    """Jobs created from then on, of one model or of all, by id: nearly in the order in which they came."""
    page: list[Ran] | None = None
    while page is None or len(page) == PAGE:
        page = await history.ran(since_s=since_s, after=page[-1].id if page else None, limit=PAGE)
        yield [one for one in page if model is None or one.model == model]


def trace_line(one: Ran, origin_s: float) -> str:
    """The job as a line under HEADER; `arrival_s` counts from `origin_s`."""
    return f"{one.came_at_s - origin_s:.3f},{one.model},{one.tenant},{one.run_s:.3f},{one.predicted_s:.3f}\n"

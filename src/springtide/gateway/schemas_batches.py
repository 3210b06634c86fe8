"""The shapes of batches that go out."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from springtide.gateway.schemas import JobView

BatchStatus = Literal["receiving", "interrupted", "in_progress", "cancelling", "completed", "cancelled"]


class BatchCounts(msgspec.Struct, kw_only=True):
    """Items by state. `refused` became no job; `gone`: the job has been deleted."""

    queued: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    gone: int = 0


class RefusedItem(msgspec.Struct, kw_only=True):
    """An item that became no job."""

    place: int
    problem: dict[str, Any]  # as Problem


class BatchView(msgspec.Struct, kw_only=True):
    """A batch as it stands now. `status`: `receiving` while its items are taken in, `interrupted` where that was cut
    off (send the same again with the same key), `completed` once every item has ended, whichever way. `progress` is 0
    to 1, weighted by what the jobs were thought to take."""

    id: str
    status: BatchStatus
    created_at: str
    created_at_s: float
    total: int
    counts: BatchCounts
    progress: float
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None
    retry_of: str | None = None  # the batch whose unsuccessful jobs this one does again
    status_url: str
    items_url: str
    jobs_url: str
    cancel_url: str
    retry_url: str
    refused: list[RefusedItem]  # the first of them; all are at `items_url`


class BatchPage(msgspec.Struct, kw_only=True):
    """Batches, newest first. Ask for the next page with `after`."""

    data: list[BatchView]
    has_more: bool
    next_after: str | None = None


class BatchItemView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of one item. `place` counts from 0 in the order of the request."""

    place: int
    status: str  # that of its job, or refused, or gone
    job: JobView | None = None  # as recorded
    idempotency_key: str | None = None  # the item's own
    replayed: bool = False  # the job was there before: it has the item's key
    problem: dict[str, Any] | None = None  # as Problem


class BatchItemPage(msgspec.Struct, kw_only=True):
    """Items in order. Ask for the next page with `after`."""

    data: list[BatchItemView]
    has_more: bool
    next_after: int | None = None

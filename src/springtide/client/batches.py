"""Batches as the server tells them, and their items."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.client.types import Job


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Items by state. refused: became no job. gone: the job has been deleted."""

    queued: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    refused: int = 0
    gone: int = 0


class RefusedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item that became no job, and why (RFC 9457)."""

    place: int
    problem: dict[str, Any]


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stood when it was asked for. progress: 0 to 1 over all its jobs. refused: the first of them."""

    id: str
    status: str  # receiving, interrupted, in_progress, cancelling, completed (each item has ended somehow), cancelled
    created_at: str
    created_at_s: float
    total: int
    counts: BatchCounts
    progress: float
    eta_s: float | None = None
    eta_range_s: tuple[float, float] | None = None
    retry_of: str | None = None
    status_url: str
    items_url: str
    jobs_url: str
    cancel_url: str
    retry_url: str
    refused: list[RefusedItem] = []

    @property
    def has_ended(self) -> bool:
        """It will not change by itself; an `interrupted` one goes on when the same is submitted with the same key."""
        return self.status in ("completed", "cancelled", "interrupted")

    @property
    def is_completed(self) -> bool:
        """Every item became a job, and every job completed."""
        return self.status == "completed" and self.counts.completed == self.total


class BatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """Batches, newest first; `next_after` asks for the next page."""

    data: list[Batch]
    has_more: bool
    next_after: str | None = None


class BatchItem(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item: `job`, or `problem` where it was refused. place: in the order of the request, from 0."""

    place: int
    status: str  # that of its job, or refused, or gone
    job: Job | None = None
    idempotency_key: str | None = None
    replayed: bool = False
    problem: dict[str, Any] | None = None


class BatchItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """Items in order; `next_after` asks for the next page."""

    data: list[BatchItem]
    has_more: bool
    next_after: int | None = None

"""What a load test saw, raw: every submit, every look at the fleet, every fault, and what the server has on record.

Times are seconds from the first moment of the test, unless a name ends in `_at_s` (Unix time).
"""

from __future__ import annotations

import msgspec

ENDED = frozenset({"completed", "failed", "cancelled", "expired"})


class Failure(msgspec.Struct, frozen=True):
    """A submit that was not accepted at once. again: it was sent once more, with the same idempotency key."""

    at_s: float
    code: str
    again: bool


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    """One job as its caller knows it. job: None where it was never accepted."""

    lane: int
    due_s: float  # when the plan had it
    sent_s: float  # when it was first sent: later than due where the test itself could not keep up
    answered_s: float
    job: str | None = None
    failures: tuple[Failure, ...] = ()


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Queue and workers of a model at one time. Of a server that does not answer there is none."""

    at_s: float
    model: str
    queued: int
    running: int
    ready: int
    busy: int  # as the worker said with its last beat, seconds ago
    starting: int
    draining: int

    @property
    def workers(self) -> int:
        return self.ready + self.busy + self.starting + self.draining


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that was killed. workers: that were up before."""

    at_s: float
    what: str
    workers: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the server has it on record at the end."""

    job: str
    lane: int
    status: str
    created_s: float
    started_s: float | None = None  # its last attempt
    finished_s: float | None = None
    attempt: int = 0
    used_s: float | None = None  # of a worker; jobs that shared a run share it
    error: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """A scaling decision while the test ran."""

    at_s: float
    model: str
    before: int
    replicas: int
    reason: str
    message: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. missing: accepted, and not on record when asked for by name."""

    began_at_s: float
    span_s: float
    submits: tuple[Submit, ...]
    looks: tuple[Look, ...]
    kills: tuple[Kill, ...]
    entries: tuple[Entry, ...]
    missing: tuple[str, ...]
    growth: tuple[Growth, ...] = ()
    interrupted: bool = False

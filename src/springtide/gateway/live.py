"""A job's live story: as server-sent events with resume, and as a wait for its end.

Promises: after a reconnect no event is seen twice and none is missed that the broker still keeps; a terminal event is
sent only for an end that is on record; a stream never outlives the job or the server. Source: WHATWG HTML 9.2.
Where the live events are gone (a restart), the end is told once from the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import msgspec

from springtide.domain.errors import OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.job import TERMINAL, Job, JobError, JobRef
from springtide.domain.lease import LiveEvent, seq_after
from springtide.gateway.services import GatewayServices
from springtide.gateway.views import event_view

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_MS = 2000  # what a browser waits before it reconnects
PAUSE_S = 1.0  # between looks where the broker does not know the job, or is down
KEEP_ALIVE = b": keep-alive\n\n"
_MADE = f"-{10**15 - 1}"  # ends the id of an event made from the record: after every live one of the same millisecond
_encoder = msgspec.json.Encoder()
_TERMINAL_KINDS = frozenset(status.value for status in TERMINAL)


class Live:
    """Reads live events for clients."""

    def __init__(self, services: GatewayServices) -> None:
        self._broker = services.broker
        self._ledger = services.ledger
        self._clock = services.clock
        self._closing = services.closing
        self._keep_alive_s = services.settings.keep_alive_s
        self.streams = 0  # open now

    async def stream(self, job: Job, after: str | None) -> AsyncIterator[bytes] | None:
        """The events of `job` after event id `after`, as the bytes of an event stream. None: it is over, and all of it
        has been seen."""
        first: list[LiveEvent] = []
        if job.status.is_terminal:
            told = await self._read(job, None, wait_s=0.0) or []  # one look: the end may be announced at any moment
            if after is not None and (
                after.endswith(_MADE) or any(after == event.seq for event in told if _is_end(event))
            ):
                return None
            first = [event for event in told if seq_after(event.seq, after)]
            if not _has_end(first):
                first.append(terminal_event(job, first[-1].seq if first else after))
        return self._lines(job, after, first)

    async def wait(self, job: Job, wait_s: float) -> Job:
        """The job as recorded once it has ended, or as it is on record after `wait_s`."""
        deadline_s = self._clock.monotonic_s() + wait_s
        after: str | None = None
        while not job.status.is_terminal and not self._closing.is_set():
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            began_s = self._clock.monotonic_s()
            events = await self._read(job, after, wait_s=min(left_s, self._keep_alive_s))
            if events:
                after = events[-1].seq
                if events[-1].kind not in _TERMINAL_KINDS:
                    continue
            [fresh] = await self._ledger.get([job.id])
            job = fresh or job
            waited_s = self._clock.monotonic_s() - began_s
            if not events and not job.status.is_terminal and waited_s < min(left_s, PAUSE_S) / 2:
                await self._unless_closing(self._clock.sleep(min(left_s, PAUSE_S)))
        return job

    async def _lines(self, job: Job, after: str | None, first: list[LiveEvent]) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            async for chunk in self._follow(job, after, first):
                yield chunk
        except SpringtideError as error:  # the client comes again by itself, with the id of the last event it saw
            log.warning("the event stream of %s ends early: %s", job.id, error)
        finally:
            self.streams -= 1

    async def _follow(self, job: Job, after: str | None, events: list[LiveEvent]) -> AsyncIterator[bytes]:
        while True:
            for event in events:
                yield encode_event(event)
                after = event.seq
                if event.kind in _TERMINAL_KINDS:
                    return
            if self._closing.is_set():
                return
            began_s = self._clock.monotonic_s()
            found = await self._read(job, after, wait_s=self._keep_alive_s)
            events = found or []
            if events:
                continue
            [fresh] = await self._ledger.get([job.id])
            if fresh is not None and fresh.status.is_terminal:
                # Its announcement may have come between the two looks; else it is lost, and the ledger tells the end.
                events = await self._read(job, after, wait_s=0.0) or []
                if not _has_end(events):
                    events.append(terminal_event(fresh, events[-1].seq if events else after))
                continue
            yield KEEP_ALIVE
            if self._clock.monotonic_s() - began_s < min(PAUSE_S, self._keep_alive_s) / 2:
                await self._unless_closing(self._clock.sleep(PAUSE_S))

    async def _read(self, job: Job, after: str | None, *, wait_s: float) -> list[LiveEvent] | None:
        """Events, none after `wait_s`, or None where the broker cannot be asked (or the server is closing)."""
        reading = self._broker.read_events(JobRef(job.model, job.id), after, wait_s=wait_s)
        try:
            return await (reading if wait_s <= 0 else self._unless_closing(reading))
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("no live events of %s: %s", job.id, error)
            return None

    async def _unless_closing(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`, or None as soon as the server is closing."""
        task = asyncio.ensure_future(work)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for each in (task, closing):
                if not each.done():
                    each.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await each


def terminal_event(job: Job, after: str | None = None) -> LiveEvent:
    """The end of an ended job, made from its record. Its id comes after `after` also where clocks were set back, and
    shows what it is, so that a client sees it once."""
    at_s = job.finished_at_s if job.finished_at_s is not None else job.created_at_s
    error = job.error and JobError(code=job.error.code, message=job.error.message)
    seq = f"{int(at_s * 1000)}{_MADE}"
    if not seq_after(seq, after) and after is not None:
        seq = f"{after.partition('-')[0]}{_MADE}"
    return LiveEvent(seq=seq, job=job.id, kind=job.status.value, at_s=at_s, attempt=job.attempt, error=error)


def _has_end(events: list[LiveEvent]) -> bool:
    return any(map(_is_end, events))


def _is_end(event: LiveEvent) -> bool:
    return event.kind in _TERMINAL_KINDS


def encode_event(event: LiveEvent) -> bytes:
    """One event as the lines of an event stream. JSON has no raw line break, so one data line is enough."""
    data = _encoder.encode(event_view(event))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.seq.encode(), event.kind.encode(), data)

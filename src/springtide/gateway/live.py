"""A job's live story: as server-sent events with resume, and as a wait for its end.

Promises: after a reconnect no event is seen twice and none is missed that the broker still keeps; a terminal event is
sent only for an end that is on record; a stream never outlives the job or the server; a job that is queued for a while
is told why, and again when the reason changes (`waiting`, without an id: nothing to resume). Source: WHATWG HTML 9.2.
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
from springtide.domain.job import TERMINAL, Job, JobRef
from springtide.domain.lease import LiveEvent, seq_after
from springtide.gateway.heard_ends import HeardEnd
from springtide.gateway.outlook import Outlook
from springtide.gateway.pipeline_events import PipelineEvents
from springtide.gateway.schemas import WaitingEventView
from springtide.gateway.services import GatewayServices
from springtide.gateway.standing import Standings
from springtide.gateway.views import event_view, waiting_view
from springtide.policy.pipelines import events_ref
from springtide.policy.waiting import Waiting

log = logging.getLogger(__name__)
T = TypeVar("T")

RETRY_MS = 2000  # what a browser waits before it reconnects
PAUSE_S = 1.0  # between looks where the broker does not know the job, or is down
KEEP_ALIVE = b": keep-alive\n\n"
_MADE = f"-{10**15 - 1}"  # ends the id of an event made from the record: after every live one of the same millisecond
_encoder = msgspec.json.Encoder()
WAITING_KINDS = frozenset({"queued", "retrying"})
_TERMINAL_KINDS = frozenset(status.value for status in TERMINAL)


class Live:
    """Reads live events for clients."""

    def __init__(self, services: GatewayServices, outlook: Outlook) -> None:
        self._broker = services.broker
        self._ledger = services.ledger
        self._ends = services.ends
        self._pipelines = PipelineEvents(services.broker, services.ledger, services.clock)
        self._clock = services.clock
        self._closing = services.closing
        self._outlook = outlook
        self._standings = Standings(services, outlook)
        self._keep_alive_s = services.settings.keep_alive_s
        self._explain_after_s = services.settings.explain_after_s
        self.streams = 0  # open now

    async def stream(self, job: Job, after: str | None) -> AsyncIterator[bytes] | None:
        """The events of `job` after event id `after`, as the bytes of an event stream. None: it is over, and all of it
        has been seen."""
        told = await self._read(job, None, wait_s=0.0) or []  # one look, for the end may be announced at any moment
        first = [event for event in told if seq_after(event.seq, after)]
        if job.status.is_terminal:
            if after is not None and (after.endswith(_MADE) or after in [end.seq for end in told if _is_end(end)]):
                return None
            if not _has_end(first):
                first.append(terminal_event(job, first[-1].seq if first else after))
        return self._lines(job, after, first)

    async def wait(self, job: Job, wait_s: float, *, is_new: bool = False) -> Job:
        """The job as recorded once it has ended, or as it is on record after `wait_s`. is_new: it was queued just now,
        without a turn for others since."""
        heard = self._ends.listen(job)
        try:
            return await self._wait(job, wait_s, heard, is_new=is_new)
        finally:
            self._ends.leave(heard)

    async def _wait(self, job: Job, wait_s: float, heard: HeardEnd, *, is_new: bool) -> Job:
        now_s = self._clock.monotonic_s()
        look_every_s = self._keep_alive_s if job.unit is None else self._explain_after_s  # it may change its queue
        ends_s, look_s = now_s + wait_s, now_s + look_every_s
        # An older job may have ended before anybody listened; the end of a pipeline is the conductor's.
        is_told_here = self._ends.are_all and is_new and job.plan is None
        after: str | None = None
        while not job.status.is_terminal and now_s < ends_s and not self._closing.is_set():
            turn_s = min(ends_s - now_s, PAUSE_S)  # short turns instead of a task that watches for the server's close
            if is_told_here:
                has_ended = await heard.told(turn_s)
            else:
                events = await self._read_to_end(job, after, turn_s)
                has_ended, after = _has_end(events), events[-1].seq if events else after
            before_s, now_s = now_s, self._clock.monotonic_s()
            if not has_ended:
                if now_s - before_s < turn_s / 2:  # nobody to wait with
                    await self._clock.sleep(turn_s)
                    now_s = self._clock.monotonic_s()
                if now_s < min(look_s, ends_s):
                    continue
            fresh = heard.job()
            if fresh is None:
                [fresh] = await self._ledger.get([job.id])
            job, look_s = fresh or job, now_s + look_every_s
        return job

    async def _read_to_end(self, job: Job, after: str | None, wait_s: float) -> list[LiveEvent]:
        try:
            return await self._broker.read_events(_ref(job), after, wait_s=wait_s, to_end=True)
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("no live events of %s: %s", job.id, error)
            return []

    async def _lines(self, job: Job, after: str | None, first: list[LiveEvent]) -> AsyncIterator[bytes]:
        self.streams += 1
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            async for news in self.follow(job, after, first):
                if isinstance(news, WaitingEventView):
                    yield _encode_waiting(news)
                else:
                    yield b"".join(map(encode_event, news)) or KEEP_ALIVE
        except SpringtideError as error:  # the client comes again by itself, with the id of the last event it saw
            log.warning("the event stream of %s ends early: %s", job.id, error)
        finally:
            self.streams -= 1

    async def follow(
        self,
        job: Job,
        after: str | None,
        events: list[LiveEvent],
        *,
        waits: bool = True,
        until_closing: bool = True,
    ) -> AsyncIterator[list[LiveEvent] | WaitingEventView]:
        """`events` and then all that come after them, up to the job's end, and why it waits in between; an empty list
        where it was silent for `keep_alive_s`. Raises Unavailable where the ledger is down too.

        waits: whether the job may be queued now. until_closing: False for a reader that is cancelled at the end.
        """
        told: str | None = None  # why it waits, as said last
        age_s = max(0.0, self._clock.now_s() - job.created_at_s)
        young_s = max(0.0, self._explain_after_s - age_s)
        look_at_s = self._clock.monotonic_s() + young_s  # most jobs begin before there is anything to explain
        quiet_since_s = self._clock.monotonic_s()
        while True:
            if events:
                yield events
                after, last = events[-1].seq, events[-1].kind
                if last in _TERMINAL_KINDS:
                    return
                waits, told = last in WAITING_KINDS or job.plan is not None, None  # any step of it may wait
            if self._closing.is_set():
                return
            began_s = self._clock.monotonic_s()
            if waits and began_s >= look_at_s:
                look_at_s = began_s + self._explain_after_s
                job = await self._moved(job)
                waiting = await self._why(job, told)
                if waiting is not None:
                    told = waiting.code
                    yield waiting_view(job, waiting, self._clock.now_s())
            left_s = quiet_since_s + self._keep_alive_s - began_s
            wait_s = max(0.001, min(left_s, look_at_s - began_s) if waits else left_s)
            found = await self._read(job, after, wait_s=wait_s, until_closing=until_closing)
            events = found or []
            if events:
                quiet_since_s = self._clock.monotonic_s()
                continue
            is_early = self._clock.monotonic_s() - began_s < min(PAUSE_S, wait_s) / 2
            if is_early or wait_s >= left_s:
                quiet_since_s = self._clock.monotonic_s()
                events = await self._end_on_record(job, after)
                if not events:
                    yield []
                    if is_early:
                        await self._unless_closing(self._clock.sleep(PAUSE_S))

    async def _moved(self, job: Job) -> Job:
        """The job as it is: what waits for a version whose rollout is aborted goes to the queue of another one."""
        if job.unit is None:
            return job
        try:
            [fresh] = await self._ledger.get([job.id])
        except (Unavailable, OutcomeUnknown):
            return job
        return fresh or job

    async def _end_on_record(self, job: Job, after: str | None) -> list[LiveEvent]:
        """What is left to tell of a job that the ledger says has ended."""
        [fresh] = await self._ledger.get([job.id])
        if fresh is None or not fresh.status.is_terminal:
            return []
        # Its announcement may have come between the two looks; else it is lost, and the ledger tells the end.
        events = await self._read(job, after, wait_s=0.0) or []
        return events if _has_end(events) else [*events, terminal_event(fresh, events[-1].seq if events else after)]

    async def _why(self, job: Job, told: str | None) -> Waiting | None:
        """Why the job still waits, where that is not what was told before."""
        if job.plan is not None:
            waiting = await self._standings.waiting(await self._standings.one(job))
            return None if waiting is None or waiting.code == told else waiting
        of_its_model = await self._outlook.waiting(job)
        if of_its_model is None or of_its_model.code == told:
            return None
        try:  # its own place costs more to learn
            [live] = await self._broker.peek([job.ref], self._clock.now_s())
        except (Unavailable, OutcomeUnknown):
            return None
        waiting = of_its_model if live is None else await self._outlook.waiting(job, live)
        return None if waiting is None or waiting.code == told else waiting

    async def read(self, job: Job, after: str | None, *, wait_s: float) -> list[LiveEvent]:
        """Live events of a job as the broker keeps them. Raises Unavailable or OutcomeUnknown."""
        if job.plan is not None:
            return await self._pipelines.read(job, after, wait_s=wait_s)
        return await self._broker.read_events(_ref(job), after, wait_s=wait_s)

    async def _read(
        self, job: Job, after: str | None, *, wait_s: float, until_closing: bool = True
    ) -> list[LiveEvent] | None:
        """Events, none after `wait_s`, or None where the broker cannot be asked (or the server is closing)."""
        reading = self.read(job, after, wait_s=wait_s)
        try:
            return await (self._unless_closing(reading) if until_closing and wait_s > 0 else reading)
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
    error = job.error and msgspec.structs.replace(job.error, details={})
    seq = f"{int(at_s * 1000)}{_MADE}"
    if not seq_after(seq, after) and after is not None:
        seq = f"{after.partition('-')[0]}{_MADE}"
    return LiveEvent(seq=seq, job=job.id, kind=job.status.value, at_s=at_s, attempt=job.attempt, error=error)


def _ref(job: Job) -> JobRef:
    """Where the job's own events are, its end among them."""
    return job.ref if job.plan is None else events_ref(job)


def _has_end(events: list[LiveEvent]) -> bool:
    return any(map(_is_end, events))


def _is_end(event: LiveEvent) -> bool:
    return event.kind in _TERMINAL_KINDS


def _encode_waiting(view: WaitingEventView) -> bytes:
    return b"event: waiting\ndata: %s\n\n" % _encoder.encode(view)


def encode_event(event: LiveEvent) -> bytes:
    """One event as the lines of an event stream. JSON has no raw line break, so one data line is enough."""
    data = _encoder.encode(event_view(event))
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event.seq.encode(), event.kind.encode(), data)

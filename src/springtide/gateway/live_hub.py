"""Live events from the broker to any number of WebSocket clients.

Promises: a job is read once, however many follow it, and not at all where nobody does; who follows a job is told every
event from where it stood, once, up to the end; nobody waits longer than TICK_S for what others are told meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import JobId
from springtide.domain.job import Job
from springtide.domain.lease import LiveEvent, seq_after
from springtide.gateway.headers import iso8601
from springtide.gateway.live import PAUSE_S, WAITING_KINDS, Live, terminal_event
from springtide.gateway.live_listener import (
    END_KINDS,
    Listener,
    Place,
    Told,
    Wire,
    told_event,
    told_json,
    told_waiting,
)
from springtide.gateway.schemas import WaitingEventView
from springtide.gateway.services import GatewayServices
from springtide.gateway.views import error_view
from springtide.telemetry.metrics_catalogue import LIVE_CLIENTS, LIVE_DELAY

log = logging.getLogger(__name__)

TICK_S = 0.02  # between two messages to one client: a frame of a 50 Hz picture, and seldom seen as a delay
WRITES_AT_ONCE = 256  # then others get their turn: about 2 ms
GOING_AWAY = 1012  # service restart (IANA): come again
_STATUS_OF_KIND = {"started": "in_progress", "progress": "in_progress", "retrying": "queued"}  # others: as they are


class _Feed:
    """A job that somebody follows."""

    __slots__ = ("job", "listeners", "reader")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.listeners: dict[Listener, Place] = {}
        self.reader: asyncio.Task[None] | None = None


class Hub:
    """All clients of this process."""

    def __init__(self, services: GatewayServices, live: Live) -> None:
        self._live = live
        self._clock = services.clock
        self._closing = services.closing
        self._metrics = services.metrics
        self._listeners: set[Listener] = set()
        self._feeds: dict[JobId, _Feed] = {}
        self._dirty: dict[Listener, None] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._metrics.set(LIVE_CLIENTS, value=0)  # nobody is not unknown

    @property
    def listeners(self) -> int:
        return len(self._listeners)

    def join(self, wire: Wire) -> Listener:
        """A new client. `leave` must follow."""
        listener = Listener(wire, self._note)
        self._listeners.add(listener)
        self._metrics.set(LIVE_CLIENTS, value=len(self._listeners))
        if self._closer is None:
            self._closer = _task(self._say_goodbye(), "goodbye to live clients")
        return listener

    def leave(self, listener: Listener) -> None:
        for job in list(listener.places):
            self.unsubscribe(listener, job)
        listener.wire.on_writable = None
        self._listeners.discard(listener)
        self._metrics.set(LIVE_CLIENTS, value=len(self._listeners))
        self._dirty.pop(listener, None)
        if not self._listeners and self._closer is not None:
            self._closer.cancel()
            self._closer = None

    async def subscribe(self, listener: Listener, job: Job, after: str | None) -> None:
        """Tell what happened after event id `after`, then how the job stands, then whatever happens to it."""
        if job.id in listener.places:
            self.unsubscribe(listener, job.id)
        place = listener.places[job.id] = Place()
        feed = self._feeds.setdefault(job.id, _Feed(job))
        feed.listeners[listener] = place
        story = await self._story(job)
        if listener.places.get(job.id) is not place:
            return  # given up meanwhile
        for event in story if after is not None else ():
            if seq_after(event.seq, after):
                listener.say(told_event(event))
        listener.say(_snapshot(job, story, after))
        if story and story[-1].kind in END_KINDS:
            self.unsubscribe(listener, job.id)
            return
        place.seen = story[-1].seq if story else after
        held, place.held = place.held or [], None
        for told in held:
            listener.take(told, place)
            if told.is_end:
                self.unsubscribe(listener, job.id)
        if feed.reader is None and job.id in listener.places:
            waits = not story or story[-1].kind in WAITING_KINDS
            feed.reader = _task(self._read(feed, place.seen, waits), f"live events of {job.id}")

    def unsubscribe(self, listener: Listener, job: JobId) -> None:
        listener.places.pop(job, None)
        feed = self._feeds.get(job)
        if feed is not None:
            feed.listeners.pop(listener, None)
            if not feed.listeners:
                self._end(feed)

    async def _story(self, job: Job) -> list[LiveEvent]:
        try:
            story = await self._live.read(job, None, wait_s=0.0)
        except (Unavailable, OutcomeUnknown) as error:
            log.debug("no story of %s: %s", job.id, error)
            story = []
        if job.status.is_terminal and not (story and story[-1].kind in END_KINDS):
            story = [*story, terminal_event(job, story[-1].seq if story else None)]
        return story

    async def _read(self, feed: _Feed, after: str | None, waits: bool) -> None:
        """The one reader of a job: until its end, or until nobody follows it."""
        try:
            while True:
                try:
                    follow = self._live.follow(feed.job, after, [], waits=waits, until_closing=False)
                    async for news in follow:
                        if isinstance(news, WaitingEventView):
                            self._tell(feed, told_waiting(feed.job.id, news))
                            continue
                        for event in news:
                            after, waits = event.seq, event.kind in WAITING_KINDS
                            self._metrics.observe(LIVE_DELAY, value=max(0.0, self._clock.now_s() - event.at_s))
                            self._tell(feed, told_event(event))
                    return
                except (Unavailable, OutcomeUnknown) as error:
                    log.warning("live events of %s wait: %s", feed.job.id, error)
                    await self._clock.sleep(PAUSE_S)
        finally:
            if self._feeds.get(feed.job.id) is feed:
                del self._feeds[feed.job.id]

    def _tell(self, feed: _Feed, told: Told) -> None:
        for listener, place in feed.listeners.items():
            listener.take(told, place)
            if told.is_end and place.held is None:
                listener.places.pop(feed.job.id, None)

    def _end(self, feed: _Feed) -> None:
        if self._feeds.get(feed.job.id) is feed:
            del self._feeds[feed.job.id]
        if feed.reader is not None:
            feed.reader.cancel()

    # --- writing ------------------------------------------------------------------------------------------------

    def _note(self, listener: Listener) -> None:
        self._dirty[listener] = None
        if self._flusher is None:
            self._flusher = _task(self._flush(), "live messages")

    async def _flush(self) -> None:
        """At once, and then once a tick for as long as there is news."""
        try:
            while self._dirty:
                await self._flush_once()
                await self._clock.sleep(TICK_S)
        finally:
            self._flusher = None

    async def _flush_once(self) -> None:
        dirty, self._dirty = self._dirty, {}
        shared: dict[tuple[Told, ...], bytes] = {}
        for count, listener in enumerate(dirty, start=1):
            listener.flush(shared)
            if count % WRITES_AT_ONCE == 0:
                await self._clock.sleep(0)

    async def _say_goodbye(self) -> None:
        await self._closing.wait()
        await self._flush_once()
        for listener in list(self._listeners):
            listener.wire.close(GOING_AWAY, "the server stops; come again with the ids of the last events seen")


def _task(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    return task


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s: failed", task.get_name(), exc_info=error)


def _snapshot(job: Job, story: list[LiveEvent], after: str | None) -> Told:
    """How the job stands, by the last of its events that say so, and the id to come again with."""
    if not story:
        at_s = job.created_at_s
        at = iso8601(at_s)
        return told_json("snapshot", job.id, id=after, status=job.status, at=at, at_s=at_s, attempt=job.attempt)
    last = story[-1]
    fields: dict[str, Any] = {"id": last.seq, "status": _STATUS_OF_KIND.get(last.kind, last.kind)}
    fields |= {"at": iso8601(last.at_s), "at_s": last.at_s, "attempt": last.attempt}
    if last.kind in ("progress", "cancelling"):
        shown = next((event for event in reversed(story) if event.kind == "progress"), None)
        if shown is not None and shown.attempt == last.attempt:
            fields |= {"progress": shown.fraction, "stage": shown.stage}
    if last.error is not None:
        fields["error"] = error_view(last.error)
    return told_json("snapshot", job.id, **fields)

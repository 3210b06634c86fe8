"""What one WebSocket client still has to be told. Bounded, whatever the client does.

Promises: each event is encoded once, however many hear it; a client that reads is told every event, those of one tick
in one message; one that does not read is told, once it does, of each job the newest state and the newest progress after
it, and always the end. Refuses to grow: two items a job are kept for later, and nothing of a job twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from springtide.domain.ids import JobId
from springtide.domain.job import TERMINAL
from springtide.domain.lease import LiveEvent, seq_after
from springtide.gateway.schemas import WaitingEventView
from springtide.gateway.views import event_view

MESSAGE_BYTES = 256 << 10  # clients have limits too: 1 MiB is a common one
END_KINDS = frozenset(status.value for status in TERMINAL)
_encoder = msgspec.json.Encoder()


class Wire(Protocol):
    """A WebSocket as a server gives it to its application beside ASGI, for messages that many clients share."""

    is_writable: bool  # whether the client keeps up with what was written
    on_writable: Callable[[], None] | None  # called when it does again

    def write(self, frame: bytes) -> None:
        """Send one whole frame. Does nothing on a connection that is closing."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; the application is told as if the client had gone."""
        ...


class Told:
    """One thing to say about a job."""

    __slots__ = ("data", "frame", "is_end", "is_step", "job", "seq")

    def __init__(self, job: JobId | None, kind: str, data: bytes, *, seq: str | None = None) -> None:
        self.job = job
        self.seq = seq
        self.data = data
        self.is_step = kind in ("progress", "waiting")  # the next one says more; it changes no state
        self.is_end = kind in END_KINDS
        self.frame: bytes | None = None  # as a message of its own


def told_event(event: LiveEvent) -> Told:
    """The same JSON as on the event stream, and the event's id in it."""
    data = b'{"id":"%s",%s' % (event.seq.encode(), _encoder.encode(event_view(event))[1:])
    return Told(event.job, event.kind, data, seq=event.seq)


def told_waiting(job: JobId, view: WaitingEventView) -> Told:
    """Why a job still waits: the newest reason is enough."""
    return Told(job, view.kind, _encoder.encode(view))


def told_json(kind: str, job: JobId | None, **fields: Any) -> Told:
    """Anything else, such as a snapshot or a refusal."""
    return Told(job, kind, _encoder.encode({"kind": kind, "job": job, **fields}))


class Place:
    """Where a listener stands in one job's story."""

    __slots__ = ("held", "seen")

    def __init__(self) -> None:
        self.held: list[Told] | None = []  # news while the story so far is being fetched
        self.seen: str | None = None  # what was told already: the feed may lag behind the story that was fetched

    def is_news(self, told: Told) -> bool:
        if self.seen is None or told.seq is None:
            return True
        if not seq_after(told.seq, self.seen):
            return False
        self.seen = None  # the feed has caught up
        return True


class Listener:
    """One client."""

    __slots__ = ("_backlog", "_news", "_on_news", "follows_all", "places", "wire")

    def __init__(self, wire: Wire, on_news: Callable[[Listener], None]) -> None:
        """on_news: told that `flush` has something to do."""
        self.wire = wire
        self.places: dict[JobId, Place] = {}
        self.follows_all = False
        self._on_news = on_news
        self._news: list[Told] = []
        self._backlog: dict[JobId | None, list[Told]] = {}
        wire.on_writable = self._on_writable

    def take(self, told: Told, place: Place) -> None:
        """News of a job that is followed."""
        if place.held is not None:
            place.held.append(told)
        elif place.is_news(told):
            self.say(told)

    def say(self, told: Told) -> None:
        self._news.append(told)
        self._on_news(self)

    def flush(self, shared: dict[tuple[Told, ...], bytes]) -> None:
        """Write what there is as one message. `shared`: messages of this round by what they hold."""
        if not self.wire.is_writable or self._backlog:
            for told in self._news:
                self._put_by(told)
            self._news.clear()
            if not self.wire.is_writable:
                return
            news = [told for kept in self._backlog.values() for told in kept]
            self._backlog.clear()
        else:
            news, self._news = self._news, []
        if len(news) == 1:
            [told] = news
            if told.frame is None:
                told.frame = frame_of((told,))
            self.wire.write(told.frame)
        elif news:
            for part in _parts(news):
                key = tuple(part)
                frame = shared.get(key)
                if frame is None:
                    frame = shared[key] = frame_of(part)
                self.wire.write(frame)

    def _put_by(self, told: Told) -> None:
        kept = self._backlog.setdefault(told.job, [])
        if not told.is_step:
            kept[:] = [told]  # a new state says all that came before
        elif kept and kept[-1].is_step:
            kept[-1] = told
        else:
            kept.append(told)

    def _on_writable(self) -> None:
        if self._backlog:
            self._on_news(self)


def _parts(news: list[Told]) -> list[list[Told]]:
    if sum(len(told.data) for told in news) <= MESSAGE_BYTES:
        return [news]
    parts: list[list[Told]] = [[]]
    size = 0
    for told in news:
        if size and size + len(told.data) > MESSAGE_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(told)
        size += len(told.data)
    return parts


def frame_of(news: Iterable[Told]) -> bytes:
    """A JSON array as one unmasked text frame, as a server sends it (RFC 6455, 5.2)."""
    body = b"[%s]" % b",".join([told.data for told in news])
    size = len(body)
    if size < 126:
        return bytes((0x81, size)) + body
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2) + body
    return b"\x81\x7f" + size.to_bytes(8) + body

"""Live events of the embedded broker: one short story per job, ids that only rise, forgotten in time.

Promises: ids rise within a job and its times never fall, also when the clock steps back; the first event and the
terminal one stay while the middle is trimmed; nothing follows a terminal event. What is kept of ended jobs is bounded
by time and by bytes, whatever came: memory stands still once EVENTS_KEPT_S have passed.
"""

from __future__ import annotations

import logging
from collections import deque

import msgspec

from springtide.broker.memory_waits import Waits
from springtide.broker.protocol import EVENTS_KEPT_S, EVENTS_PER_JOB
from springtide.domain.ids import JobId
from springtide.domain.job import TERMINAL, JobError
from springtide.domain.lease import LiveEvent, seq_after, seq_key

log = logging.getLogger(__name__)
ENDED_BYTES = (
    16 << 20
)  # some 25,000 jobs of six events; EVENTS_KEPT_S alone would keep a gigabyte at 2,000 jobs a second
ENDED_OWN_BYTES = 320  # of each besides what is packed: its id, its places in a dict and in a queue. Measured

_NOTHING: deque[LiveEvent] = deque(maxlen=0)  # of every queued job: an own one, empty, would take 0.7 KiB


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """An event of a story that is over, without its job, which the story has once."""

    seq: str
    kind: str
    at_s: float
    attempt: int
    fraction: float | None
    stage: str | None
    error: JobError | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Packed]).decode


class _Story:
    """The events of a job that has not been told to its end: the first and the newest others."""

    __slots__ = ("first", "is_over", "others")

    def __init__(self, first: LiveEvent) -> None:
        self.first = first
        self.others = _NOTHING
        self.is_over = False  # the job has ended, and its end may never be announced

    def append(self, event: LiveEvent) -> None:
        if self.others is _NOTHING:
            self.others = deque(maxlen=EVENTS_PER_JOB - 1)
        self.others.append(event)

    @property
    def events(self) -> list[LiveEvent]:
        """All that are kept, oldest first."""
        return [self.first, *self.others]

    @property
    def newest(self) -> LiveEvent:
        return self.others[-1] if self.others else self.first


class Stories:
    """The live events of all jobs. Nobody reads most ended ones again: they are packed, to a third of the memory."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._stories: dict[JobId, _Story] = {}
        self._told: dict[JobId, bytes] = {}  # packed, the terminal event the last
        self._told_bytes = 0
        self._ended: deque[tuple[float, JobId]] = deque()  # when to forget which ended job
        self._has_said = False

    def begin(self, job: JobId, kind: str, at_s: float, *, attempt: int) -> None:
        """Tell what happened before this broker was there: its id says when, so that it comes before all that readers
        were told since."""
        if job in self._stories or job in self._told:
            self.add(job, kind, at_s, attempt=attempt)
            return
        seq = f"{int(at_s * 1000)}-0"
        self._stories[job] = _Story(LiveEvent(seq=seq, job=job, kind=kind, at_s=at_s, attempt=attempt))
        self._waits.ring(("events", job))

    def add(
        self,
        job: JobId,
        kind: str,
        now_s: float,
        *,
        attempt: int = 0,
        fraction: float | None = None,
        stage: str | None = None,
        error: JobError | None = None,
    ) -> bool:
        """Tell one more event; False where the story is over."""
        if job in self._told:
            return False
        story = self._stories.get(job)
        event = LiveEvent(
            seq=f"{int(now_s * 1000)}-0" if story is None else _next_seq(story.newest.seq, now_s),
            job=job,
            kind=kind,
            at_s=now_s if story is None else max(now_s, story.newest.at_s),
            attempt=attempt,
            fraction=fraction,
            stage=stage,
            error=error,
        )
        if story is None:
            story = self._stories[job] = _Story(event)
        else:
            story.append(event)
        if kind in TERMINAL:
            self._pack(job, story, now_s)
            self._waits.ring(("end", job))
        self._waits.ring(("events", job))
        return True

    def _pack(self, job: JobId, story: _Story, now_s: float) -> None:
        """It is told to its end."""
        packed = _encode(
            [
                _Packed(one.seq, one.kind, one.at_s, one.attempt, one.fraction, one.stage, one.error)
                for one in story.events
            ]
        )
        self.end(job, now_s)
        del self._stories[job]
        self._told[job] = packed
        self._told_bytes += ENDED_OWN_BYTES + len(packed)
        while self._told_bytes > ENDED_BYTES and len(self._ended) > 1:
            forget_at_s, oldest = self._ended.popleft()
            self._drop(oldest)
            if not self._has_said:
                self._has_said = True
                early_s = forget_at_s - now_s
                log.info("live events of ended jobs fill %d MiB: forgotten %.0f s early", ENDED_BYTES >> 20, early_s)

    def end(self, job: JobId, now_s: float) -> None:
        """The job has ended: its story may be forgotten after EVENTS_KEPT_S."""
        story = self._stories.get(job)
        if story is not None and not story.is_over:
            story.is_over = True
            self._ended.append((now_s + EVENTS_KEPT_S, job))

    def forget(self, now_s: float) -> None:
        """Drop the stories whose time is over."""
        while self._ended and self._ended[0][0] <= now_s:
            self._drop(self._ended.popleft()[1])

    def _drop(self, job: JobId) -> None:
        packed = self._told.pop(job, None)
        if packed is None:
            del self._stories[job]  # its end was never announced
        else:
            self._told_bytes -= ENDED_OWN_BYTES + len(packed)

    def is_told(self, job: JobId) -> bool:
        """Whether the terminal event is there."""
        return job in self._told

    def has_news(self, job: JobId, after: str | None) -> bool:
        """Whether there is an event after id `after`."""
        story = self._stories.get(job)
        if story is not None:
            return seq_after(story.newest.seq, after)
        return job in self._told and seq_after(self._unpacked(job)[-1].seq, after)

    def read(self, job: JobId, after: str | None) -> list[LiveEvent]:
        """Events after id `after`, oldest first."""
        story = self._stories.get(job)
        if story is None:
            return [event for event in self._unpacked(job) if seq_after(event.seq, after)]
        if after is None:
            return story.events
        newer: list[LiveEvent] = []
        for event in reversed(story.others):  # who keeps up knows the newest, or the one before it
            if event.seq == after:
                return newer[::-1]
            newer.append(event)
        return [event for event in story.events if seq_after(event.seq, after)]

    def _unpacked(self, job: JobId) -> list[LiveEvent]:
        packed = self._told.get(job)
        if packed is None:
            return []
        return [
            LiveEvent(
                seq=one.seq,
                job=job,
                kind=one.kind,
                at_s=one.at_s,
                attempt=one.attempt,
                fraction=one.fraction,
                stage=one.stage,
                error=one.error,
            )
            for one in _decode(packed)
        ]


def _next_seq(newest: str, now_s: float) -> str:
    """An id after `newest`, also where that one is from the future: the clock was set back since."""
    ms, n = seq_key(newest)
    now_ms = int(now_s * 1000)
    return f"{now_ms}-0" if now_ms > ms else f"{ms}-{n + 1}"

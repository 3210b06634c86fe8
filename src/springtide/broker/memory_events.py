"""Live events of the embedded broker: one short story per job, ids that only rise, forgotten in time.

Promises: ids rise within a job and its times never fall, also when the clock steps back; the first event and the
terminal one stay while the middle is trimmed; nothing follows a terminal event.
"""

from __future__ import annotations

from collections import deque

import msgspec

from springtide.broker.memory_waits import Waits
from springtide.broker.protocol import EVENTS_KEPT_S, EVENTS_PER_JOB
from springtide.domain.ids import JobId
from springtide.domain.job import TERMINAL, JobError
from springtide.domain.lease import LiveEvent, seq_after, seq_key

ENDED_STORIES = 20_000  # at about 1 KiB each; EVENTS_KEPT_S alone would keep gigabytes at thousands of jobs a second


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
    """A job's events: the first, the newest others, and whether it is told to its end. Nobody reads most ended ones
    again: they are packed, to a quarter of the memory."""

    __slots__ = ("_packed", "first", "forget_at_s", "others", "told")

    def __init__(self, first: LiveEvent) -> None:
        self.first = first
        self.others = _NOTHING
        self.told = False
        self.forget_at_s: float | None = None
        self._packed: bytes | None = None

    def append(self, event: LiveEvent) -> None:
        if self.others is _NOTHING:
            self.others = deque(maxlen=EVENTS_PER_JOB - 1)
        self.others.append(event)

    def pack(self) -> None:
        """It is told: only its newest event stays as it is."""
        newest = self.newest
        self._packed = _encode(
            [
                _Packed(one.seq, one.kind, one.at_s, one.attempt, one.fraction, one.stage, one.error)
                for one in (self.first, *self.others)
            ]
        )
        self.first, self.others = newest, _NOTHING

    @property
    def events(self) -> list[LiveEvent]:
        """All that are kept, oldest first."""
        if self._packed is None:
            return [self.first, *self.others]
        return [
            LiveEvent(
                seq=one.seq,
                job=self.first.job,
                kind=one.kind,
                at_s=one.at_s,
                attempt=one.attempt,
                fraction=one.fraction,
                stage=one.stage,
                error=one.error,
            )
            for one in _decode(self._packed)
        ]

    @property
    def newest(self) -> LiveEvent:
        return self.others[-1] if self.others else self.first


class Stories:
    """The live events of all jobs."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._stories: dict[JobId, _Story] = {}
        self._ended: deque[tuple[float, JobId]] = deque()

    def begin(self, job: JobId, kind: str, at_s: float, *, attempt: int) -> None:
        """Tell what happened before this broker was there: its id says when, so that it comes before all that readers
        were told since."""
        if job in self._stories:
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
        story = self._stories.get(job)
        if story is not None and story.told:
            return False
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
            story.told = True
            story.pack()
            self.end(job, now_s)
            self._waits.ring(("end", job))
        self._waits.ring(("events", job))
        return True

    def end(self, job: JobId, now_s: float) -> None:
        """The job has ended: its story may be forgotten after EVENTS_KEPT_S."""
        story = self._stories.get(job)
        if story is None or story.forget_at_s is not None:
            return
        story.forget_at_s = now_s + EVENTS_KEPT_S
        self._ended.append((story.forget_at_s, job))
        if len(self._ended) > ENDED_STORIES:
            del self._stories[self._ended.popleft()[1]]

    def forget(self, now_s: float) -> None:
        """Drop the stories whose time is over."""
        while self._ended and self._ended[0][0] <= now_s:
            del self._stories[self._ended.popleft()[1]]

    def is_told(self, job: JobId) -> bool:
        """Whether the terminal event is there."""
        story = self._stories.get(job)
        return story is not None and story.told

    def has_news(self, job: JobId, after: str | None) -> bool:
        """Whether there is an event after id `after`."""
        story = self._stories.get(job)
        return story is not None and seq_after(story.newest.seq, after)

    def read(self, job: JobId, after: str | None) -> list[LiveEvent]:
        """Events after id `after`, oldest first."""
        story = self._stories.get(job)
        if story is None:
            return []
        if after is None:
            return story.events
        newer: list[LiveEvent] = []
        for event in reversed(story.others):  # who keeps up knows the newest, or the one before it
            if event.seq == after:
                return newer[::-1]
            newer.append(event)
        return [event for event in story.events if seq_after(event.seq, after)]


def _next_seq(newest: str, now_s: float) -> str:
    """An id after `newest`, also where that one is from the future: the clock was set back since."""
    ms, n = seq_key(newest)
    now_ms = int(now_s * 1000)
    return f"{now_ms}-0" if now_ms > ms else f"{ms}-{n + 1}"

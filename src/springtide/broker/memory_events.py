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
from springtide.domain.lease import LiveEvent, seq_key

log = logging.getLogger(__name__)
ENDED_BYTES = (
    16 << 20
)  # some 25,000 jobs of six events; EVENTS_KEPT_S alone would keep a gigabyte at 2,000 jobs a second
ENDED_OWN_BYTES = 320  # of each besides what is packed: its id, its places in a dict and in a queue. Measured


class _Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event of a story, which has the job once. Readers get a `LiveEvent` made of it: most have none."""

    ms: int  # these two are its id
    n: int
    kind: str
    at_s: float
    attempt: int
    fraction: float | None = None
    stage: str | None = None
    error: JobError | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Event]).decode


class Stories:
    """The live events of all jobs. Nobody reads most ended ones again: they are packed, to a third of the memory."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._stories: dict[JobId, list[_Event]] = {}  # not told to their ends: the first event and the newest others
        self._over: set[JobId] = set()  # of those: the job has ended, and its end may never be announced
        self._told: dict[JobId, bytes] = {}  # packed, the terminal event the last
        self._told_bytes = 0
        self._ended: deque[tuple[float, JobId]] = deque()  # when to forget which ended job
        self._has_said = False

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
        ms, n, at_s = int(now_s * 1000), 0, now_s
        story = self._stories.get(job)
        if story is None:
            if job in self._told:
                return False
            self._stories[job] = story = [_Event(ms, n, kind, at_s, attempt, fraction, stage, error)]
        else:
            newest = story[-1]
            if ms <= newest.ms:  # also where that one is from the future: the clock was set back since
                ms, n, at_s = newest.ms, newest.n + 1, max(now_s, newest.at_s)
            story.append(_Event(ms, n, kind, at_s, attempt, fraction, stage, error))
            if len(story) > EVENTS_PER_JOB:
                del story[1]
        if kind in TERMINAL:
            self._pack(job, story, now_s)
            self._waits.ring(("end", job))
        self._waits.ring(("events", job))
        return True

    def _pack(self, job: JobId, story: list[_Event], now_s: float) -> None:
        """It is told to its end."""
        packed = _encode(story)
        self.end(job, now_s)
        del self._stories[job]
        self._over.discard(job)
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
        if job in self._stories and job not in self._over:
            self._over.add(job)
            self._ended.append((now_s + EVENTS_KEPT_S, job))

    def forget(self, now_s: float) -> None:
        """Drop the stories whose time is over."""
        while self._ended and self._ended[0][0] <= now_s:
            self._drop(self._ended.popleft()[1])

    def _drop(self, job: JobId) -> None:
        packed = self._told.pop(job, None)
        if packed is None:
            del self._stories[job]  # its end was never announced
            self._over.discard(job)
        else:
            self._told_bytes -= ENDED_OWN_BYTES + len(packed)

    def is_told(self, job: JobId) -> bool:
        """Whether the terminal event is there."""
        return job in self._told

    def has_news(self, job: JobId, after: str | None) -> bool:
        """Whether there is an event after id `after`."""
        story = self._of(job)
        return bool(story) and _is_after(story[-1], _key(after))

    def read(self, job: JobId, after: str | None) -> list[LiveEvent]:
        """Events after id `after`, oldest first."""
        key = _key(after)
        newer: list[LiveEvent] = []
        for event in reversed(self._of(job)):  # who keeps up knows the newest, or the one before it
            if not _is_after(event, key):
                break
            newer.append(
                LiveEvent(
                    seq=f"{event.ms}-{event.n}",
                    job=job,
                    kind=event.kind,
                    at_s=event.at_s,
                    attempt=event.attempt,
                    fraction=event.fraction,
                    stage=event.stage,
                    error=event.error,
                )
            )
        return newer[::-1]

    def _of(self, job: JobId) -> list[_Event]:
        story = self._stories.get(job)
        if story is not None:
            return story
        packed = self._told.get(job)
        return [] if packed is None else _decode(packed)


def _key(after: str | None) -> tuple[int, int] | None:
    return None if after is None else seq_key(after)


def _is_after(event: _Event, key: tuple[int, int] | None) -> bool:
    return key is None or (event.ms, event.n) > key

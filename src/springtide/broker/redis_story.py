"""How a job's story is read from Redis: live events, one after the other, as the scripts have packed them."""

from __future__ import annotations

import msgspec

from springtide.broker.protocol import EVENTS_PER_JOB
from springtide.broker.redis_wire import figure
from springtide.domain.ids import JobId
from springtide.domain.job import JobError
from springtide.domain.lease import LiveEvent, seq_after

_LENGTH = 4  # bytes before and behind each event of a story
_UNTOLD = 1 << 31  # in the length of a story whose last event is not to be told yet


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """A live event (`add_event` in prelude.lua)."""

    ms: int
    place: int
    kind: str
    at_s: float
    attempt: int
    fraction: float | bool
    stage: str
    error: JobError | None


_decode_told = msgspec.msgpack.Decoder(_Told).decode


def story(
    job: JobId, record: bytes | None, rest: bytes, after: str | None, *, is_whole: bool, is_buried: bool
) -> list[LiveEvent] | None:
    """The events after event id `after`: of a job's record, which begins with the beginning of its story, and of the
    rest of it. None where that is not whole and does not reach back to `after`.

    is_buried: whether there is a tombstone: only then is the end told that was written with the job's result.
    """
    found: list[LiveEvent] = []
    length = int.from_bytes(record[:_LENGTH]) if record else 0
    begin = _LENGTH + length % _UNTOLD if record else 0
    is_end_untold = length >= _UNTOLD and not is_buried
    for part, may_be_cut in ((rest, not is_whole), (record[_LENGTH:begin] if record else b"", False)):
        end = len(part)
        while end > 0:
            first = end - 2 * _LENGTH - int.from_bytes(part[end - _LENGTH : end])
            if first < 0:
                return None
            event = _live_event(job, part[first + _LENGTH : end - _LENGTH])
            end = first
            if is_end_untold:
                is_end_untold = False
                continue
            if not seq_after(event.seq, after):
                return found[::-1]
            found.append(event)
        if may_be_cut:
            return None
    if len(found) > EVENTS_PER_JOB:  # more are stored than are promised: they are not trimmed each time
        found[EVENTS_PER_JOB - 1 :] = found[-1:]
    return found[::-1]


def _live_event(job: JobId, packed: bytes) -> LiveEvent:
    told = _decode_told(packed)
    return LiveEvent(
        seq=f"{told.ms}-{told.place}",
        job=job,
        kind=told.kind,
        at_s=told.at_s,
        attempt=told.attempt,
        fraction=figure(told.fraction),
        stage=told.stage or None,
        error=told.error,
    )

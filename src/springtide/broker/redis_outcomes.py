"""What has ended, on its way from the stream in Redis to the record, and what is said once it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from springtide.broker.redis_wire import Arg, encode, events, figure, flat
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, JobError, JobStatus
from springtide.domain.lease import LiveEvent, Outcome


class _Result(msgspec.Struct, frozen=True, array_like=True):
    """What a completion adds to the record."""

    outputs: dict[str, Any]
    output_files: tuple[BlobRef, ...]


class _Ended(msgspec.Struct, frozen=True, array_like=True):
    """An outcome in an entry of the stream (`add_outcome` in prelude.lua)."""

    id: JobId
    status: JobStatus
    attempt: int
    finished_at_s: float
    started_at_s: float | bool
    worker: WorkerId
    run_s: float | bool
    result: _Result | None
    error: JobError | None
    checkpoint: Checkpoint | None
    tenant: TenantId | None = None  # these two are missing in entries of earlier versions
    enqueued_at_s: float | None = None


_decode_ended = msgspec.msgpack.Decoder(list[_Ended]).decode


def outcomes(model: ModelName, reply: Sequence[Any]) -> list[Outcome]:
    found: list[Outcome] = []
    for entry, packed in zip(reply[::2], reply[1::2], strict=True):
        value, letters = (packed, b"") if isinstance(packed, bytes) else packed
        ended = _decode_ended(value)
        found += [
            _outcome(f"{entry.decode()}.{place}.{len(ended)}@{model}", model, one)
            for place, one in enumerate(ended)
            if letters[place : place + 1] != b"x"
        ]
    return found


def _outcome(seq: str, model: ModelName, ended: _Ended) -> Outcome:
    """seq: unique among all models, where an entry of a stream is so in its own."""
    result = ended.result
    return Outcome(
        seq=seq,
        id=ended.id,
        model=model,
        status=ended.status,
        attempt=ended.attempt,
        finished_at_s=ended.finished_at_s,
        worker=ended.worker or None,
        started_at_s=figure(ended.started_at_s),
        run_s=figure(ended.run_s),
        outputs=None if result is None else result.outputs,
        output_files=() if result is None else result.output_files,
        error=ended.error,
        checkpoint=ended.checkpoint,
        tenant=ended.tenant,
        enqueued_at_s=ended.enqueued_at_s,
    )


def parted_results(
    items: Sequence[Outcome], told: Mapping[JobId, LiveEvent]
) -> tuple[list[list[Outcome]], list[Outcome]]:
    """Outcomes of one model, by entry where all of its are there and each is the result of its job, to be told as
    complete.lua has written it down; and the others."""
    entries: dict[str, list[Outcome]] = {}
    for one in items:
        entries.setdefault(one.seq.partition(".")[0], []).append(one)
    whole: list[list[Outcome]] = []
    others: list[Outcome] = []
    for entry in entries.values():
        count = int(entry[0].seq.partition("@")[0].rpartition(".")[2])
        is_whole = len(entry) == count and all(
            one.status is JobStatus.COMPLETED
            and (event := told.get(one.id)) is not None
            and (event.kind, event.at_s, event.attempt) == (one.status, one.finished_at_s, one.attempt)
            for one in entry
        )
        if is_whole:
            whole.append(entry)
        else:
            others += entry
    return whole, others


def burial(entries: Sequence[Sequence[Outcome]]) -> list[Arg]:
    """Entries of the stream with all that is in them."""
    ids = [one.id for entry in entries for one in entry]
    return [encode([entry[0].seq.partition(".")[0] for entry in entries]), encode(ids)]


def acks(items: Sequence[Outcome], told: Sequence[LiveEvent]) -> list[Arg]:
    """Outcomes of one model."""
    places: dict[str, tuple[int, list[int]]] = {}  # entry -> how many are in it, which of them these are
    for one in items:
        entry, place, count = one.seq.partition("@")[0].split(".")
        places.setdefault(entry, (int(count), []))[1].append(int(place))
    return [
        encode([entry for entry, (count, acked) in places.items() if len(acked) == count]),
        encode([(entry, count, *acked) for entry, (count, acked) in places.items() if len(acked) < count]),
        flat((one.id, one.status) for one in items if one.status.is_terminal),
        *events(told),
    ]

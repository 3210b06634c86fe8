"""How values travel to and from the Lua scripts: msgpack, in the order each script names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from springtide.domain.fleet import QueueView, TenantLoad, Usage, WorkerView
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import Checkpoint, JobError, JobRef, JobStatus, Priority
from springtide.domain.lease import (
    LEASE_TTL_S,
    Completion,
    Failure,
    Held,
    Lease,
    LiveEvent,
    LiveJob,
    Progress,
    Ticket,
    WorkerState,
)
from springtide.domain.tenant import Discipline

Arg = str | bytes | int | float

_CLASSES = {Priority.INTERACTIVE: 0, Priority.STANDARD: 1, Priority.BATCH: 2}
TICKET_BYTES = 512  # of a ticket that goes along with its job wherever that is written down
_EVENT_LENGTH = 4  # bytes before and behind each event of a story, and before the story
_QUEUED = JobStatus.QUEUED.value
_MICRO = 1_000_000  # predicted seconds are summed as whole microseconds: a float sum would drift


class _StoredTicket(msgspec.Struct, frozen=True, array_like=True):
    """The part of a ticket that only its lease needs."""

    tenant: TenantId
    payload: bytes
    enqueued_at_s: float
    timeout_s: float
    max_attempts: int


class _Leased(msgspec.Struct, frozen=True, array_like=True):
    """An element of `lease.lua`'s reply."""

    id: JobId
    attempt: int
    ticket: _StoredTicket
    checkpoint: Checkpoint | None


# Lua has no null that an array could hold: what is not there is False, or "" where it is text.
class _Peeked(msgspec.Struct, frozen=True, array_like=True):
    """An element of `peek.lua`'s reply."""

    status: JobStatus
    attempt: int
    worker: WorkerId
    started_at_s: float | bool
    fraction: float | bool
    stage: str
    retry_at_s: float | bool
    checkpoint: Checkpoint | None
    ahead: int | bool


class _Word(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says of itself beside its state."""

    problem: JobError | None = None
    usage: Usage | None = None


encode = msgspec.msgpack.Encoder().encode
_decode_word = msgspec.msgpack.Decoder(_Word).decode
_NOTHING_SAID = _Word()
_decode_leases = msgspec.msgpack.Decoder(list[_Leased]).decode
_decode_peeks = msgspec.msgpack.Decoder(list[_Peeked | None]).decode


def error_blob(error: JobError) -> bytes:
    return encode(error)


# --- in: the arguments of one call: all that a script reads as one packed value, then what is opaque to it ------------


def new_record(ticket: Ticket, now_s: float) -> bytes | None:
    """A job's record as `pack_job` in prelude.lua would write it, where it was never begun and its ticket is short. A
    script would take three times as long to make it: most jobs enter so, one by one."""
    stored = _stored(ticket)
    if ticket.attempt or ticket.held_by or ticket.checkpoint or ticket.max_attempts < 1 or len(stored) > TICKET_BYTES:
        return None
    ms = int(now_s * 1000)
    event = encode((ms, 0, _QUEUED, now_s, 0, False, "", None))
    size = len(event).to_bytes(_EVENT_LENGTH)
    story = b"%s%s%s" % (size, event, size)
    head = (
        *(_QUEUED, 0, ticket.max_attempts, ticket.tenant, _CLASSES[ticket.priority], ticket.enqueued_at_s),
        *(_micro(ticket), ticket.start_deadline_at_s or False, "", False, False, "", False, 0, ""),
    )
    tail = (ms, 0, _QUEUED, now_s, 0)
    length = len(story).to_bytes(_EVENT_LENGTH)
    return b"".join((length, story, encode(head)[1:], _as_text(stored), encode(tail)[1:]))


def new_jobs(items: Sequence[tuple[Ticket, bytes]]) -> list[Arg]:
    """Tickets with their records."""
    told = (
        (
            *(ticket.id, _CLASSES[ticket.priority], ticket.enqueued_at_s, _micro(ticket)),
            *(ticket.start_deadline_at_s or False, ticket.tenant),
        )
        for ticket, _ in items
    )
    return [flat(told), *(record for _, record in items)]


def _as_text(value: bytes) -> bytes:
    """msgpack of at most 65,535 bytes as Lua packs its strings, which may hold any."""
    size = len(value)
    if size < 32:
        return b"%c%s" % (0xA0 | size, value)
    return (b"\xd9%c" % size if size < 256 else b"\xda" + size.to_bytes(2)) + value


def _micro(ticket: Ticket) -> int:
    return round(ticket.predicted_s * _MICRO)


def _stored(ticket: Ticket) -> bytes:
    """What only the lease needs: `_StoredTicket`."""
    return encode((ticket.tenant, ticket.payload, ticket.enqueued_at_s, ticket.timeout_s, ticket.max_attempts))


def tickets(items: Sequence[Ticket]) -> list[Arg]:
    packed: list[Any] = []
    args: list[Arg] = [b""]
    for ticket in items:
        packed.append(
            (
                ticket.id,
                _CLASSES[ticket.priority],
                ticket.enqueued_at_s,
                ticket.max_attempts,
                _micro(ticket),
                ticket.start_deadline_at_s,
                ticket.attempt,
                ticket.held_by or "",
                ticket.started_at_s,
                ticket.tenant,
            )
        )
        args += (_stored(ticket), _checkpoint_blob(ticket.checkpoint))
    args[0] = encode(packed)
    return args


def discipline_args(discipline: Discipline) -> tuple[Arg, ...]:
    """A name by which the same discipline is known again, then all of it."""
    shares = ((tenant.id, repr(tenant.weight), _limit(tenant.max_running)) for tenant in discipline.tenants)
    name = hashlib.sha1(encode(discipline), usedforsecurity=False).hexdigest()
    return name, _limit(discipline.max_running), *chain.from_iterable(shares)


def worker_word(state: WorkerState, problem: JobError | None, usage: Usage | None) -> bytes:
    """What a worker says of itself: its state, and behind a blank why its engine does not load and what it uses."""
    word = state.value.encode()
    return word if problem is usage is None else b"%s %s" % (word, encode((problem, usage)))


def jobs(items: Sequence[JobRef]) -> list[Arg]:
    return [encode([ref.id for ref in items])]


def held(items: Sequence[Held]) -> list[Arg]:
    return [flat((one.id, one.attempt) for one in items)]


def completions(items: Sequence[Completion]) -> list[Arg]:
    return [
        flat((one.id, one.attempt, one.run_s) for one in items),
        *(encode((one.outputs, one.output_files)) for one in items),
    ]


def failures(now_s: float) -> Callable[[Sequence[Failure]], list[Arg]]:
    """Failures reported at `now_s`."""

    def retry_at_s(failed: Failure) -> float | bool:
        after_s = failed.retry_after_s
        return False if after_s is None else 0.0 if after_s <= 0 else now_s + after_s

    def args(items: Sequence[Failure]) -> list[Arg]:
        return [
            flat((one.id, one.attempt, retry_at_s(one), one.cancelled) for one in items),
            *(encode(one.error) for one in items),
        ]

    return args


def progress(items: Sequence[Progress]) -> list[Arg]:
    return [
        flat((one.id, one.attempt, one.fraction, one.stage or "") for one in items),
        *(_checkpoint_blob(one.checkpoint) for one in items),
    ]


def events(items: Sequence[LiveEvent]) -> list[Arg]:
    return [
        flat((one.job, one.kind, one.at_s, one.attempt) for one in items),
        *("" if one.error is None else encode(one.error) for one in items),
    ]


def flat(parts: Iterable[tuple[Any, ...]]) -> bytes:
    """One flat array: a script reads it without making a table for each item."""
    return encode(list(chain.from_iterable(parts)))


# --- out: what a script replied -------------------------------------------------------------------------------------


def leases(reply: bytes, model: ModelName, worker: WorkerId) -> list[Lease]:
    return [
        Lease(
            id=one.id,
            model=model,
            tenant=one.ticket.tenant,
            worker=worker,
            attempt=one.attempt,
            max_attempts=one.ticket.max_attempts,
            payload=one.ticket.payload,
            timeout_s=one.ticket.timeout_s,
            enqueued_at_s=one.ticket.enqueued_at_s,
            checkpoint=one.checkpoint,
        )
        for one in _decode_leases(reply)
    ]


def job_id(raw: bytes) -> JobId:
    return JobId(raw.decode())


def job_ids(raw: Iterable[bytes]) -> tuple[JobId, ...]:
    return tuple(job_id(item) for item in raw)


def verdicts(reply: Sequence[int]) -> list[bool]:
    return [bool(one) for one in reply]


def statuses(reply: Sequence[bytes]) -> list[JobStatus | None]:
    return [JobStatus(one.decode()) if one else None for one in reply]


def live_jobs(refs: Sequence[JobRef], found: Sequence[_Peeked | None]) -> list[LiveJob | None]:
    return [
        None
        if seen is None
        else LiveJob(
            id=ref.id,
            status=seen.status,
            attempt=seen.attempt,
            worker=seen.worker or None,
            started_at_s=figure(seen.started_at_s),
            fraction=figure(seen.fraction),
            stage=seen.stage or None,
            ahead=None if seen.ahead is False else int(seen.ahead),
            retry_at_s=figure(seen.retry_at_s),
            checkpoint=seen.checkpoint,
        )
        for ref, seen in zip(refs, found, strict=True)
    ]


def peeks(reply: bytes) -> list[_Peeked | None]:
    return _decode_peeks(reply)


def queue_view(model: ModelName, reply: Sequence[Any], now_s: float) -> QueueView:
    queued, leased, predicted, oldest, raw, raw_waiting, raw_running = reply
    waiting, running = _fields(raw_waiting), _fields(raw_running)
    workers = tuple(
        _worker_view(model, each)
        for each in zip(raw[::4], raw[1::4], raw[2::4], raw[3::4], strict=True)
        if float(each[1]) + LEASE_TTL_S > now_s
    )
    return QueueView(
        model=model,
        queued=int(queued),
        leased=int(leased),
        predicted_s=int(predicted) / _MICRO,
        oldest_enqueued_at_s=_number(oldest),
        workers=workers,
        taken_at_s=now_s,
        tenants=tuple(
            TenantLoad(
                tenant=TenantId(name.decode()), queued=int(waiting.get(name, 0)), running=int(running.get(name, 0))
            )
            for name in waiting | running
        ),
    )


def _worker_view(model: ModelName, raw: tuple[bytes, bytes, bytes, int]) -> WorkerView:
    worker, heard_at, word, held = raw
    state, _, more = word.partition(b" ")
    said = _decode_word(more) if more else _NOTHING_SAID
    return WorkerView(
        worker=WorkerId(worker.decode()),
        model=model,
        state=WorkerState(state.decode()) if state else WorkerState.READY,
        held=int(held),
        beat_at_s=float(heard_at),
        problem=said.problem,
        usage=said.usage,
    )


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _limit(most: int | None) -> Arg:
    return "" if most is None else most


def _number(raw: bytes | None) -> float | None:
    return float(raw) if raw else None


def figure(value: float | bool) -> float | None:
    """What Lua said, where False is nothing."""
    return None if value is False else float(value)


def _checkpoint_blob(checkpoint: Checkpoint | None) -> bytes | str:
    return "" if checkpoint is None else encode(checkpoint)

"""How values travel to and from the Lua scripts: flat lists of text and msgpack, in the order each script names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import msgspec

from springtide.domain.fleet import QueueView, TenantLoad, WorkerView
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, JobError, JobStatus, Priority
from springtide.domain.lease import (
    LEASE_TTL_S,
    Completion,
    Failure,
    Held,
    Lease,
    LiveEvent,
    LiveJob,
    Outcome,
    Progress,
    Ticket,
    WorkerState,
)
from springtide.domain.tenant import Discipline

Arg = str | bytes | int | float

_CLASSES = {Priority.INTERACTIVE: 0, Priority.STANDARD: 1, Priority.BATCH: 2}
_MICRO = 1_000_000  # predicted seconds are summed as whole microseconds: a float sum would drift


class _Result(msgspec.Struct, frozen=True, array_like=True):
    """What a completion adds to the record."""

    outputs: dict[str, Any]
    output_files: tuple[BlobRef, ...]


class _StoredTicket(msgspec.Struct, frozen=True, array_like=True):
    """The part of a ticket that only its lease needs."""

    tenant: TenantId
    payload: bytes
    enqueued_at_s: float
    timeout_s: float
    max_attempts: int


_encode = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(_Result).decode
_decode_error = msgspec.msgpack.Decoder(JobError).decode
_decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode
_decode_ticket = msgspec.msgpack.Decoder(_StoredTicket).decode


def error_blob(error: JobError) -> bytes:
    return _encode(error)


# --- in: the arguments of one item ----------------------------------------------------------------------------------


def ticket_args(ticket: Ticket) -> tuple[Arg, ...]:
    stored = _StoredTicket(ticket.tenant, ticket.payload, ticket.enqueued_at_s, ticket.timeout_s, ticket.max_attempts)
    deadline = ticket.start_deadline_at_s
    return (
        ticket.id,
        _CLASSES[ticket.priority],
        repr(ticket.enqueued_at_s),
        ticket.max_attempts,
        round(ticket.predicted_s * _MICRO),
        "" if deadline is None else repr(deadline),
        ticket.attempt,
        ticket.held_by or "",
        "" if ticket.started_at_s is None else repr(ticket.started_at_s),
        ticket.tenant,
        _checkpoint_blob(ticket.checkpoint),
        _encode(stored),
    )


def discipline_args(discipline: Discipline) -> tuple[Arg, ...]:
    """A name by which the same discipline is known again, then all of it."""
    shares = ((tenant.id, repr(tenant.weight), _limit(tenant.max_running)) for tenant in discipline.tenants)
    name = hashlib.sha1(_encode(discipline), usedforsecurity=False).hexdigest()
    return name, _limit(discipline.max_running), *chain.from_iterable(shares)


def held_args(held: Held) -> tuple[Arg, ...]:
    return held.id, held.attempt


def worker_word(state: WorkerState, problem: JobError | None) -> bytes:
    """What a worker says of itself: its state, and behind a blank why its engine does not load."""
    word = state.value.encode()
    return word if problem is None else b"%s %s" % (word, _encode(problem))


def completion_args(done: Completion) -> tuple[Arg, ...]:
    return done.id, done.attempt, repr(done.run_s), _encode(_Result(done.outputs, done.output_files))


def failure_args(now_s: float) -> Callable[[Failure], tuple[Arg, ...]]:
    """Failures reported at `now_s`."""

    def args(failed: Failure) -> tuple[Arg, ...]:
        after_s = failed.retry_after_s
        retry_at = "" if after_s is None else "now" if after_s <= 0 else repr(now_s + after_s)
        return failed.id, failed.attempt, _encode(failed.error), retry_at, int(failed.cancelled)

    return args


def progress_args(progress: Progress) -> tuple[Arg, ...]:
    checkpoint = _checkpoint_blob(progress.checkpoint)
    return progress.id, progress.attempt, repr(progress.fraction), progress.stage or "", checkpoint


def event_args(event: LiveEvent) -> tuple[Arg, ...]:
    return (
        event.job,
        event.kind,
        repr(event.at_s),
        event.attempt,
        b"" if event.error is None else _encode(event.error),
    )


def outcome_args(outcome: Outcome) -> tuple[Arg, ...]:
    return outcome.seq.partition("@")[0], outcome.id, outcome.status


# --- out: what a script replied -------------------------------------------------------------------------------------


def leases(reply: Sequence[Any], model: ModelName, worker: WorkerId) -> list[Lease]:
    found: list[Lease] = []
    for raw_id, attempt, blob, checkpoint in zip(reply[::4], reply[1::4], reply[2::4], reply[3::4], strict=True):
        ticket = _decode_ticket(blob)
        found.append(
            Lease(
                id=job_id(raw_id),
                model=model,
                tenant=ticket.tenant,
                worker=worker,
                attempt=int(attempt),
                max_attempts=ticket.max_attempts,
                payload=ticket.payload,
                timeout_s=ticket.timeout_s,
                enqueued_at_s=ticket.enqueued_at_s,
                checkpoint=_checkpoint(checkpoint),
            )
        )
    return found


def job_id(raw: bytes) -> JobId:
    return JobId(raw.decode())


def job_ids(raw: Iterable[bytes]) -> tuple[JobId, ...]:
    return tuple(job_id(item) for item in raw)


def status(raw: bytes) -> JobStatus | None:
    return JobStatus(raw.decode()) if raw else None


def live_job(job: JobId, reply: Sequence[Any]) -> LiveJob | None:
    state, attempt, owner, begun, fraction, stage, retry_at, checkpoint, ahead = reply
    if not state:
        return None
    return LiveJob(
        id=job,
        status=JobStatus(state.decode()),
        attempt=int(attempt),
        worker=WorkerId(owner.decode()) if owner else None,
        started_at_s=_number(begun),
        fraction=_number(fraction),
        stage=_text(stage),
        ahead=int(ahead) if ahead != b"" else None,
        retry_at_s=_number(retry_at),
        checkpoint=_checkpoint(checkpoint),
    )


def outcome(model: ModelName, entry: Sequence[Any]) -> Outcome:
    fields = _fields(entry[1])
    result = _decode_result(fields[b"r"]) if b"r" in fields else None
    job, state, attempt, finished_at_s, begun_at_s, worker = fields[b"h"].decode().split(" ", 5)
    return Outcome(
        seq=f"{entry[0].decode()}@{model}",  # stream ids are unique within a model only
        id=JobId(job),
        model=model,
        status=JobStatus(state),
        attempt=int(attempt),
        finished_at_s=float(finished_at_s),
        worker=WorkerId(worker) if worker else None,
        started_at_s=float(begun_at_s) if begun_at_s else None,
        run_s=_number(fields.get(b"u")),
        outputs=result.outputs if result else None,
        output_files=result.output_files if result else (),
        error=_error(fields.get(b"e")),
        checkpoint=_checkpoint(fields.get(b"k")),
    )


def event_seq(entry: bytes) -> str:
    return entry[: entry.index(b" ")].decode()


def live_event(job: JobId, entry: bytes) -> LiveEvent:
    seq, kind, at_s, attempt, fraction, more = entry.split(b" ", 5)
    what, value = more[:1], more[1:]
    return LiveEvent(
        seq=seq.decode(),
        job=job,
        kind=kind.decode(),
        at_s=float(at_s),
        attempt=int(attempt),
        fraction=None if fraction == b"-" else float(fraction),
        stage=value.decode() if what == b"s" and value else None,
        error=_decode_error(value) if what == b"e" else None,
    )


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
    state, _, problem = word.partition(b" ")
    return WorkerView(
        worker=WorkerId(worker.decode()),
        model=model,
        state=WorkerState(state.decode()) if state else WorkerState.READY,
        held=int(held),
        beat_at_s=float(heard_at),
        problem=_error(problem),
    )


def _fields(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _limit(most: int | None) -> Arg:
    return "" if most is None else most


def _number(raw: bytes | None) -> float | None:
    return float(raw) if raw else None


def _text(raw: bytes | None) -> str | None:
    return raw.decode() if raw else None


def _error(raw: bytes | None) -> JobError | None:
    return _decode_error(raw) if raw else None


def _checkpoint(raw: bytes | None) -> Checkpoint | None:
    return _decode_checkpoint(raw) if raw else None


def _checkpoint_blob(checkpoint: Checkpoint | None) -> bytes | str:
    return "" if checkpoint is None else _encode(checkpoint)

"""Values to rows and back. The order of a row is the order of its table's columns.

Promises: a value that went in comes back equal. Refuses, as InvalidInput, what JSON cannot hold: it is told to the
caller who brought it, before it shares a transaction with others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.domain.ids import BlobId, JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, Checkpoint, Foretold, Job, JobError, JobStatus, Plan, Priority
from springtide.domain.lease import LiveJob, Outcome
from springtide.ledger.protocol import Attempt, PendingUpload, StoredBlob
from springtide.ledger.usage import day_of, used_s

Row = Sequence[Any]
T = TypeVar("T")

MOST_PADDING = 256  # of lists of up to 512; longer ones are few, and SQLite takes 32,766 values

_encoder = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, Any])
_files = msgspec.json.Decoder(tuple[BlobRef, ...])
_error = msgspec.json.Decoder(JobError)
_checkpoint = msgspec.json.Decoder(Checkpoint)
_plan = msgspec.json.Decoder(Plan)
foretold_from = msgspec.json.Decoder(Foretold).decode
_blob = msgspec.json.Decoder(BlobRef)
_upload = msgspec.json.Decoder(PendingUpload)


def padded(values: Sequence[T]) -> Sequence[T]:
    """For a list in a statement's text: filled up to a power of two with its last value, so that nine texts stand for
    all lengths. Each text is prepared, kept by each connection and takes some 10 kB there; at fifty lengths a statement
    that was found to be most of what a ledger grew by in its first hours."""
    missing = (1 << (len(values) - 1).bit_length()) - len(values) if values else 0
    return [*values, *[values[-1]] * missing] if 0 < missing <= MOST_PADDING else values


def job_row(job: Job) -> Row:
    """A row of `tables.jobs`."""
    return (
        job.id,
        job.tenant,
        job.model,
        job.model_version,
        job.status.value,
        _text(job.inputs),
        _text(job.input_files) if job.input_files else "[]",
        job.priority.value,
        job.max_attempts,
        job.timeout_s,
        job.predicted_s,
        job.created_at_s,
        job.start_deadline_at_s,
        job.idempotency_key,
        job.fingerprint,
        job.attempt,
        job.worker,
        job.started_at_s,
        job.finished_at_s,
        _text_or_none(job.outputs),
        _text(job.output_files) if job.output_files else "[]",
        _text_or_none(job.error),
        _text_or_none(job.checkpoint),
        job.traceparent,
        job.parent,
        job.step,
        _text_or_none(job.plan),
        job.retry_of,
        job.cancel_asked_at_s,
        job.used_s,
        _text_or_none(job.foretold),
        job.unit,
        1 if job.is_pinned else None,
    )


def job_from(row: Row) -> Job:
    return Job(
        id=JobId(row[0]),
        tenant=TenantId(row[1]),
        model=ModelName(row[2]),
        model_version=row[3],
        status=JobStatus(row[4]),
        inputs=_object.decode(row[5]),
        input_files=_files.decode(row[6]),
        priority=Priority(row[7]),
        max_attempts=row[8],
        timeout_s=row[9],
        predicted_s=row[10],
        created_at_s=row[11],
        start_deadline_at_s=row[12],
        idempotency_key=row[13],
        fingerprint=row[14],
        attempt=row[15],
        worker=None if row[16] is None else WorkerId(row[16]),
        started_at_s=row[17],
        finished_at_s=row[18],
        outputs=None if row[19] is None else _object.decode(row[19]),
        output_files=_files.decode(row[20]),
        error=None if row[21] is None else _error.decode(row[21]),
        checkpoint=None if row[22] is None else _checkpoint.decode(row[22]),
        traceparent=row[23],
        parent=None if row[24] is None else JobId(row[24]),
        step=row[25],
        plan=None if row[26] is None else _plan.decode(row[26]),
        retry_of=None if row[27] is None else JobId(row[27]),
        cancel_asked_at_s=row[28],
        used_s=row[29],
        foretold=None if row[30] is None else foretold_from(row[30]),
        unit=None if row[31] is None else ModelName(row[31]),
        is_pinned=row[32] is not None,
    )


def outcome_row(outcome: Outcome) -> Row:
    """A row of `writes.OUTCOME_COLUMNS`."""
    return (
        outcome.id,
        outcome.status.value,
        outcome.attempt,
        outcome.worker,
        outcome.started_at_s,
        outcome.finished_at_s,
        _text_or_none(outcome.outputs),
        _text(outcome.output_files) if outcome.output_files else "[]",
        _text_or_none(outcome.error),
        _text_or_none(outcome.checkpoint),
        used_s(outcome),
        day_of(outcome.finished_at_s),
    )


def running_row(running: LiveJob) -> Row:
    """A row of `writes.RUNNING_COLUMNS`."""
    return (running.id, running.attempt, running.worker, running.started_at_s, _text_or_none(running.checkpoint))


def attempt_from(row: Row) -> Attempt:
    return Attempt(
        job=JobId(row[0]),
        attempt=row[1],
        worker=row[2],
        started_at_s=row[3],
        finished_at_s=row[4],
        error=None if row[5] is None else _error.decode(row[5]),
    )


def blob_row(blob: StoredBlob) -> Row:
    """A row of `tables.blobs`."""
    return (blob.ref.id, blob.tenant, _text(blob.ref), blob.created_at_s, blob.loose_since_s)


def blob_from(row: Row) -> tuple[BlobId, StoredBlob]:
    ref = _blob.decode(row[2])
    return ref.id, StoredBlob(ref=ref, tenant=TenantId(row[1]), created_at_s=row[3], loose_since_s=row[4])


def file_rows(job: JobId, refs: Iterable[BlobRef], at_s: float) -> Sequence[Row]:
    """Rows of `writes.FILE_COLUMNS`."""
    return [(job, ref.id, _text(ref), at_s) for ref in refs]


def upload_row(upload: PendingUpload) -> Row:
    """A row of `tables.uploads`."""
    return (upload.id, upload.tenant, _text(upload), upload.expires_at_s, None)


def upload_from(row: Row) -> PendingUpload:
    return _upload.decode(row[2])


def _text(value: Any) -> str:
    try:
        return _encoder.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"this cannot be kept as JSON: {error}") from error


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)

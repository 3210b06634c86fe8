"""What is still here for a client: blobs that may be named, and what to say of a job, batch or blob that is gone.

An id tells when it was made. So a thing that is not on record and older than things are kept is answered 410 instead of
404, and nobody has to remember the ids of what was deleted.
"""

from __future__ import annotations

from springtide.domain.clock import in_words
from springtide.domain.errors import NotFound
from springtide.domain.ids import BatchId, BlobId, JobId, is_batch_id, is_blob_id, is_job_id, made_at_s
from springtide.gateway.services import GatewayServices
from springtide.ledger.protocol import StoredBlob

SHOWN = 64  # characters of an id that is none


def is_kept(blob: StoredBlob, services: GatewayServices) -> bool:
    """Whether the blob may still be named. What is past its time is about to be deleted."""
    if blob.loose_since_s is None:
        return True
    return services.clock.now_s() - blob.loose_since_s < services.settings.keep_orphans_s


def missing_job(text: str, services: GatewayServices) -> NotFound:
    keep_s = services.settings.keep_s
    if is_job_id(text) and keep_s is not None and services.clock.now_s() - made_at_s(JobId(text)) > keep_s:
        return NotFound(f"There is no job {text} any more: jobs are kept {in_words(keep_s)}.", code="job_deleted")
    return NotFound(f"There is no job {text[:SHOWN]!r}.", code="unknown_job")


def missing_batch(text: str, services: GatewayServices) -> NotFound:
    keep_s = services.settings.keep_s
    if is_batch_id(text) and keep_s is not None and services.clock.now_s() - made_at_s(BatchId(text)) > keep_s:
        message = f"There is no batch {text} any more: batches are kept {in_words(keep_s)}, as their jobs are."
        return NotFound(message, code="batch_deleted")
    return NotFound(f"There is no batch {text[:SHOWN]!r}.", code="unknown_batch")


def missing_blob(text: str, services: GatewayServices) -> NotFound:
    keep_s = services.settings.keep_orphans_s
    if is_blob_id(text) and services.clock.now_s() - made_at_s(BlobId(text)) > keep_s:
        return NotFound(
            f"There is no blob {text} any more: one that no job has is kept {in_words(keep_s)}.", code="blob_deleted"
        )
    return NotFound(f"There is no blob {text[:SHOWN]!r}.", code="unknown_blob")

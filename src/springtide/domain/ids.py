"""Names of things, as types. Made in `runtime.ids`, where chance lives; checked here."""

from __future__ import annotations

import re
from typing import NewType

JobId = NewType("JobId", str)
BatchId = NewType("BatchId", str)
BlobId = NewType("BlobId", str)
WorkerId = NewType("WorkerId", str)
TenantId = NewType("TenantId", str)
ModelName = NewType("ModelName", str)

JOB_PREFIX = "job_"
BLOB_PREFIX = "blob_"
BATCH_PREFIX = "batch_"
DEFAULT_TENANT = TenantId("default")

_ID = re.compile(r"(job|blob)_[0-9a-f]{32}")  # UUIDv7 in hex: sorts by time of creation
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_VERSION = len(JOB_PREFIX) + 12  # where a UUID's version stands in a job's id
_VARIANT = len(JOB_PREFIX) + 16  # and its variant: 8 to b, but c in a batch and its jobs
SHARED = 26  # hex digits that a batch and its jobs have in common; the place and the step come after them
_BATCH = re.compile(r"batch_[0-9a-f]{16}c[0-9a-f]{9}000000")
_MODEL = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
_NAMED_VERSION = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_AT = "@"  # between a model and its version; in no model's name


def is_job_id(text: str) -> bool:
    """Whether `text` could be a job's id; everything else is answered 404 without a look-up."""
    return text.startswith(JOB_PREFIX) and _ID.fullmatch(text) is not None


def pipeline_id(fresh: JobId) -> JobId:
    """The id of a pipeline, from a fresh one: its last byte is free to number the steps."""
    return JobId(fresh[:-2] + "00")


def step_id(pipeline: JobId, step: int) -> JobId:
    """The id of the job that runs step `step` (from 0) of a pipeline: always the same one, so that it exists once.

    A UUID of version 8 ("what its maker says", RFC 9562) beside the pipeline's of version 7, with the step in the end.
    """
    return JobId(f"{pipeline[:_VERSION]}8{pipeline[_VERSION + 1 : -2]}{step + 1:02x}")


def pipeline_of(job: JobId) -> JobId | None:
    """The pipeline whose step `job` is; None where it is no step. No look-up: the recorder asks it of every job."""
    if job[_VERSION : _VERSION + 1] != "8":
        return None
    return JobId(f"{job[:_VERSION]}7{job[_VERSION + 1 : -2]}00")


def is_batch_id(text: str) -> bool:
    """Whether `text` could be a batch's id."""
    return _BATCH.fullmatch(text) is not None


def batch_id(fresh: JobId) -> BatchId:
    """The id of a batch, from a fresh one of a job: 48 random bits beside the time, and room to number its jobs."""
    digits = fresh.removeprefix(JOB_PREFIX)
    return BatchId(f"{BATCH_PREFIX}{digits[:16]}c{digits[17:SHARED]}000000")


def job_in_batch(batch: BatchId, place: int) -> JobId:
    """The id of the job at `place` (from 0): always the same one, so that a batch taken in twice is there once, and all
    jobs of a batch lie side by side on record."""
    return JobId(f"{shared_by_jobs_of(batch)}{place:04x}00")


def shared_by_jobs_of(batch: BatchId) -> str:
    """What the ids of all its jobs begin with."""
    return JOB_PREFIX + batch.removeprefix(BATCH_PREFIX)[:SHARED]


def batch_of(job: JobId) -> BatchId | None:
    """The batch that a job came in with; None where it came alone. No look-up."""
    if job[_VARIANT : _VARIANT + 1] != "c":
        return None
    whole = pipeline_of(job) or job
    return BatchId(f"{BATCH_PREFIX}{whole[len(JOB_PREFIX) :][:SHARED]}000000")


def is_blob_id(text: str) -> bool:
    """Whether `text` could be a blob's id. A blob id is safe as a file name."""
    return text.startswith(BLOB_PREFIX) and _ID.fullmatch(text) is not None


def first_job_id_at(at_s: float) -> str:
    """A text that sorts after every job's id made before that instant, and before every later one's."""
    return f"{JOB_PREFIX}{max(0, int(at_s * 1000)):012x}"


def made_at_s(id: JobId | BatchId | BlobId) -> float:
    """When an id was made: its first 48 bits are milliseconds (RFC 9562)."""
    return int(id.rpartition("_")[2][:12], 16) / 1000


def is_model_name(text: str) -> bool:
    """Lower-case words joined by `-`, `_` or `.`, at most 64 characters: fit for URLs, keys and Kubernetes names."""
    return len(text) <= 64 and _MODEL.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Lower-case words and numbers joined by `-`, `_` or `.`, at most 32 characters, such as `2` or `2026-11`."""
    return len(text) <= 32 and _NAMED_VERSION.fullmatch(text) is not None


def unit_name(model: ModelName, version: str) -> ModelName:
    """What a version that was declared beside its model is served under: a queue and a fleet of its own."""
    return ModelName(f"{model}{_AT}{version}")


def parted(name: str) -> tuple[ModelName, str | None]:
    """Model and version that `matting@2` means; no version where none is named."""
    model, at, version = name.partition(_AT)
    return ModelName(model), version if at else None


def is_tenant_id(text: str) -> bool:
    """Letters, digits and `.`, `_`, `@`, `-`, at most 64: a word, a UUID, a domain or an address."""
    return _TENANT.fullmatch(text) is not None

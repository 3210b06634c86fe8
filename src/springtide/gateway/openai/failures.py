"""A job that gave no result, as an answer of OpenAI's."""

from __future__ import annotations

from springtide.domain.job import Job, JobStatus
from springtide.gateway.openai.errors import ErrorEnvelope, envelope
from springtide.gateway.views import error_view

# Ends that say nothing against the request; with every other code an engine has found the input wrong.
_NOT_THE_CALLERS = frozenset(
    {
        "engine_failed", "crashed", "out_of_memory", "timed_out", "worker_lost", "attempts_spent", "input_missing",
        "output_too_large", "storage_unavailable", "remote_busy", "remote_unavailable", "remote_malformed",
        "remote_lost", "remote_refused", "remote_failed", "load_failed", "load_timed_out", "weights_missing",
        "model_removed",
    }
)  # fmt: skip
NO_RETRY = {"x-should-retry": "false"}  # its attempts are spent: the same again would only cost the same again


def failure(job: Job) -> tuple[int, ErrorEnvelope]:
    """Status and body for a job that ended without a result."""
    error = error_view(job.error)
    if job.status is JobStatus.CANCELLED:
        return 409, envelope(409, "job_cancelled", f"The job {job.id} has been cancelled.")
    if error is None:
        return 500, envelope(500, "job_expired", f"The job {job.id} has {job.status.value}.")
    status = 500 if error.code in _NOT_THE_CALLERS else 400
    errors = error.details.get("errors") or [{}]
    return status, envelope(status, error.code, error.message, param=errors[0].get("loc") or None)

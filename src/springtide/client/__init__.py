"""The Python client of a Springtide server.

    from pathlib import Path
    from springtide.client import Springtide

    with Springtide() as client:
        job = client.run("matting", {"image": Path("portrait.jpg")})
        client.download(job, "cut.png")

`AsyncSpringtide` is the same with `await`. Loads httpx and msgspec and nothing of the platform. A tour: docs/client.md.
"""

from springtide.client.aio.client import AsyncSpringtide
from springtide.client.batches import Batch, BatchCounts, BatchItem
from springtide.client.errors import (
    ApiError,
    BrokenTransfer,
    ClientError,
    Conflict,
    Forbidden,
    Gone,
    InvalidInput,
    InvalidRequest,
    JobCancelled,
    JobError,
    JobExpired,
    JobFailed,
    NotFound,
    Refused,
    ServerError,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from springtide.client.models import Model, Scaling
from springtide.client.requests import From, JobRequest, Step
from springtide.client.settings import Patience
from springtide.client.sync.client import Springtide
from springtide.client.types import (
    Attempt,
    Blob,
    ErrorInfo,
    Event,
    ExplainedReason,
    Explanation,
    FieldProblem,
    File,
    Job,
    JobPage,
    Priority,
    Reason,
    StepState,
)

__all__ = [
    "ApiError",
    "AsyncSpringtide",
    "Attempt",
    "Batch",
    "BatchCounts",
    "BatchItem",
    "Blob",
    "BrokenTransfer",
    "ClientError",
    "Conflict",
    "ErrorInfo",
    "Event",
    "ExplainedReason",
    "Explanation",
    "FieldProblem",
    "File",
    "Forbidden",
    "From",
    "Gone",
    "InvalidInput",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobError",
    "JobExpired",
    "JobFailed",
    "JobPage",
    "JobRequest",
    "Model",
    "NotFound",
    "Patience",
    "Priority",
    "Reason",
    "Refused",
    "Scaling",
    "ServerError",
    "Springtide",
    "Step",
    "StepState",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WaitTimeout",
]

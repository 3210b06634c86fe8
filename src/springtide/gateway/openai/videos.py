"""A job as OpenAI's video: all 13 keys, and no state but queued, in_progress, completed and failed.

Any job of a model that makes videos is one, whichever API it came by; its id is the job's. What OpenAI's shape needs
and nobody knows yet (the size of a film that follows its picture's) is "auto".
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from springtide.domain.job import BlobRef, Job, JobStatus
from springtide.gateway.readiness import Eta
from springtide.gateway.standing import Standing
from springtide.gateway.views import error_view, job_view

POLL_MS = (250, 5_000)  # a film of a second should not wait for the next look; one of an hour still shows progress
LOOKS = 4  # in the time it is thought to take: `poll()` of the `openai` package keeps to the first answer's figure
UNKNOWN = "auto"


class VideoError(msgspec.Struct, kw_only=True):
    """Why there is no video."""

    code: str
    message: str


class Video(msgspec.Struct, kw_only=True):
    """A video, made or in the making."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int  # percent
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    size: str
    seconds: str
    remixed_from_video_id: str | None = None
    error: VideoError | None = None


class VideoList(msgspec.Struct, kw_only=True):
    """A page of videos."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(msgspec.Struct, kw_only=True):
    """A video that is no more."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = True


def video_of(standing: Standing, *, keep_s: float | None) -> Video:
    """A job as a video. `keep_s`: how long ended jobs are kept."""
    job = standing.job
    view = job_view(job, "", None, live=standing.live)
    status = _STATUS.get(view.status, "failed")
    ended = job.finished_at_s
    return Video(
        id=job.id,
        model=job.model,
        status=status,
        progress=100 if status == "completed" else min(99, int(100 * (view.progress or 0.0))),
        created_at=int(job.created_at_s),
        completed_at=int(ended) if ended is not None and status == "completed" else None,
        expires_at=None if keep_s is None or ended is None else int(ended + keep_s),
        prompt=job.inputs.get("prompt") or None,
        size=_size(job),
        seconds=_seconds(job),
        error=_error(job) if status == "failed" else None,
    )


def poll_after_ms(eta: Eta | None) -> int:
    """When to look again: a part of the time it is thought to take, within bounds."""
    least, most = POLL_MS
    return 1000 if eta is None else max(least, min(most, math.ceil(eta.s * 1000 / LOOKS)))


def film_of(job: Job) -> BlobRef | None:
    """The video file of a completed job."""
    return next((ref for ref in job.output_files if ref.media_type.startswith("video/")), None)


def poster_of(job: Job) -> BlobRef | None:
    """A picture that came with it."""
    return next((ref for ref in job.output_files if ref.media_type.startswith("image/")), None)


_STATUS: dict[str, Literal["queued", "in_progress", "completed", "failed"]] = {
    "queued": "queued",
    "in_progress": "in_progress",
    "cancelling": "in_progress",
    "completed": "completed",
}


def _size(job: Job) -> str:
    for place in (job.outputs or {}, job.inputs):
        width, height = place.get("width"), place.get("height")
        if isinstance(width, int) and isinstance(height, int):
            return f"{width}x{height}"
    return UNKNOWN


def _seconds(job: Job) -> str:
    outputs = job.outputs or {}
    known = (outputs.get("duration_s"), outputs.get("audio_s"), job.inputs.get("seconds"))
    seconds = next((value for value in known if isinstance(value, int | float)), None)
    return UNKNOWN if seconds is None else f"{round(seconds, 2):g}"


def _error(job: Job) -> VideoError:
    error = error_view(job.error)
    if error is not None:
        return VideoError(code=error.code, message=error.message)
    code = "cancelled" if job.status is JobStatus.CANCELLED else "expired"
    return VideoError(code=code, message=f"The job has {'been cancelled' if code == 'cancelled' else code}.")

"""`/v1/videos`: films made from words, pictures and voices, as jobs that are polled."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from litestar import Response, delete, get, post
from litestar.params import FromPath, QueryParameter

from springtide.domain.errors import CallerError, Conflict, NotFound
from springtide.domain.ids import JobId, is_job_id
from springtide.domain.job import Job, JobStatus
from springtide.gateway import downloads
from springtide.gateway.cancelling import ask_to_stop
from springtide.gateway.context import AnyRequest, gateway_of, tenant_of
from springtide.gateway.deleting import delete_job
from springtide.gateway.openai.calls import told
from springtide.gateway.openai.listing import page_of
from springtide.gateway.openai.previews import drop_preview, preview
from springtide.gateway.openai.service import openai_of
from springtide.gateway.openai.uses import Route
from springtide.gateway.openai.videos import Video, VideoDeleted, VideoList, film_of, poll_after_ms, video_of

STOP_WAIT_S = 5.0  # most runs notice a cancel within a second


@post("/v1/videos", status_code=200, tags=["openai"], summary="Make a video")
async def create(request: AnyRequest) -> Response[Video]:
    """As OpenAI's: `prompt`, `model`, `input_reference`, `seconds`, `size`; of others `audio_reference` (a voice for a
    face), `video_reference`, `width`, `height`, `fps`, `num_frames`, `seed`; also whatever else the model takes."""
    begun = await openai_of(request).calls.begin(request, Route.VIDEOS)
    return await _answer(request, begun.job, told(begun.call))


@get("/v1/videos", tags=["openai"], summary="List videos")
async def list_videos(
    request: AnyRequest,
    *,
    after: Annotated[str | None, QueryParameter(description="The last id of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=0, le=100)] = 20,
    order: Annotated[Literal["asc", "desc"], QueryParameter(description="By time of creation.")] = "desc",
) -> VideoList:
    """Videos of the tenant, newest first unless asked otherwise."""
    gateway = gateway_of(request)
    if after is not None and not is_job_id(after):
        raise CallerError(f"'after' must be the id of a video, not {after[:64]!r}.", code="bad_cursor")
    models = [served.model.name for served in openai_of(request).choice.on(Route.VIDEOS)]
    jobs = await page_of(
        gateway.services.ledger,
        tenant_of(request).id,
        models,
        after=None if after is None else JobId(after),
        limit=limit + 1,
        ascending=order == "asc",
    )
    keep_s = gateway.services.settings.keep_s
    shown = [video_of(each, keep_s=keep_s) for each in await gateway.standings.of(jobs[:limit])]
    return VideoList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(jobs) > limit,
    )


@get("/v1/videos/{video_id:str}", tags=["openai"], summary="One video")
async def retrieve(request: AnyRequest, video_id: FromPath[str]) -> Response[Video]:
    """The video as it stands; `openai-poll-after-ms` says when to look again, from our own estimate."""
    return await _answer(request, await _video_job(request, video_id), {})


@delete("/v1/videos/{video_id:str}", status_code=200, tags=["openai"], summary="Delete a video")
async def remove(request: AnyRequest, video_id: FromPath[str]) -> VideoDeleted:
    """Gone with its files; one that is being made is stopped first."""
    gateway = gateway_of(request)
    job = await _video_job(request, video_id)
    if not job.status.is_terminal:
        await ask_to_stop(gateway.services, job)
        job = await gateway.live.wait(await _video_job(request, video_id), STOP_WAIT_S)
    if not job.status.is_terminal:
        raise Conflict("The video was told to stop and has not yet: delete it again.", code="still_stopping")
    await drop_preview(gateway.services, job)
    await delete_job(gateway.services, job)
    return VideoDeleted(id=job.id)


@get(
    "/v1/videos/{video_id:str}/content",
    tags=["openai"],
    summary="Bytes of a video",
    media_type="application/octet-stream",
)
async def content(
    request: AnyRequest,
    video_id: FromPath[str],
    variant: Annotated[
        Literal["video", "thumbnail", "spritesheet"], QueryParameter(description="What of it is wanted.")
    ] = "video",
) -> Response[Any]:
    """The film, a picture of it, or a sheet of small pictures; the latter two as WebP."""
    gateway = gateway_of(request)
    job = await _video_job(request, video_id)
    film = film_of(job)
    if job.status is not JobStatus.COMPLETED or film is None:
        status = video_of(await gateway.standings.one(job), keep_s=None).status
        raise Conflict(f"There is no content: the video is {status}.", code="not_finished")
    if variant == "video":
        return await downloads.download(request, gateway.services, film, redirect=None)
    data = await preview(request, job, film, variant)
    return Response(data, media_type="image/webp", headers={"cache-control": "private, max-age=31536000, immutable"})


async def _video_job(request: AnyRequest, video_id: str) -> Job:
    """Raises NotFound; a job that is no video is none."""
    gateway = gateway_of(request)
    if is_job_id(video_id):
        [job] = await gateway.services.ledger.get([JobId(video_id)])
        models = {served.model.name for served in openai_of(request).choice.on(Route.VIDEOS)}
        if job is not None and job.tenant == tenant_of(request).id and job.model in models:
            return job
    raise NotFound(f"There is no video {video_id[:64]!r}.", code="unknown_video")


async def _answer(request: AnyRequest, job: Job, headers: dict[str, str]) -> Response[Video]:
    gateway = gateway_of(request)
    standing = await gateway.standings.one(job)
    if not job.status.is_terminal:
        headers = {**headers, "openai-poll-after-ms": str(poll_after_ms(await gateway.standings.eta(standing)))}
    return Response(video_of(standing, keep_s=gateway.services.settings.keep_s), headers=headers)

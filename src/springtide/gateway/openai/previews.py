"""Small pictures of a film, as WebP: the poster that its model gave, and a sheet made on demand.

A sheet takes a look at the whole film, so it is an ordinary job of whatever model makes sheets (`thumbnail`, unless the
operator has another), made once for each film and found again by its idempotency key.
"""

from __future__ import annotations

import asyncio
import io
from typing import Literal

from springtide.domain.errors import NotFound, Unavailable
from springtide.domain.ids import JobId
from springtide.domain.job import BlobRef, Job, JobStatus
from springtide.gateway.context import AnyRequest, gateway_of, tenant_of
from springtide.gateway.deleting import delete_job
from springtide.gateway.openai.calls import still_running
from springtide.gateway.openai.uses import properties
from springtide.gateway.openai.videos import poster_of
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import SubmitRequest
from springtide.gateway.views import output_file

MAX_PICTURE_BYTES = 64 << 20  # a sheet of 8192 pixels a side is 10 MB as JPEG
WEBP_QUALITY = 85


async def preview(request: AnyRequest, job: Job, film: BlobRef, variant: Literal["thumbnail", "spritesheet"]) -> bytes:
    """The picture as WebP. Raises NotFound where nobody served here can make it, Refused while it is being made."""
    services = gateway_of(request).services
    poster = poster_of(job) if variant == "thumbnail" else None
    if poster is None:
        made = await _made(request, job, film)
        poster = output_file(made, "sheet" if variant == "spritesheet" else "picture")
    if poster is None or poster.bytes > MAX_PICTURE_BYTES:
        raise NotFound(f"There is no {variant} of {job.id}.", code="unknown_file")
    data = b"".join([chunk async for chunk in services.blobs.read(poster.id)])
    return data if poster.media_type == "image/webp" else await asyncio.to_thread(as_webp, data)


async def drop_preview(services: GatewayServices, job: Job) -> None:
    """Forget the job that made a film's sheet, so that it no longer keeps the film."""
    [made] = await services.ledger.keyed([(job.tenant, _key(job.id))])
    if made is not None and made.status.is_terminal:
        await delete_job(services, made)


def as_webp(data: bytes) -> bytes:
    """A picture of ours in another format."""
    from PIL import Image  # 8 MB that most gateways never need

    written = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.convert("RGB").save(written, "WEBP", quality=WEBP_QUALITY)
    return written.getvalue()


async def _made(request: AnyRequest, job: Job, film: BlobRef) -> Job:
    gateway = gateway_of(request)
    served = next((each for each in gateway.services.models.values() if _makes_sheets(each)), None)
    if served is None:
        raise NotFound("No model served here makes sheets of films (the engine `thumbnail` does).", code="not_served")
    asked = SubmitRequest(
        model=served.model.name,
        inputs={"video": film.id, "sheet": True},
        tenant=tenant_of(request),
        idempotency_key=_key(job.id),
    )
    made = (await gateway.submission.commit(await gateway.submission.prepare(asked))).job
    made = await gateway.live.wait(made, gateway.services.settings.openai_wait_s)
    if not made.status.is_terminal:
        raise still_running(made, gateway.services.settings.openai_wait_s)
    if made.status is not JobStatus.COMPLETED:
        raise Unavailable(f"The sheet could not be made: the job {made.id} has {made.status.value}.")
    return made


def _makes_sheets(served: ServedModel) -> bool:
    return "sheet" in served.model.output_files and {"video", "sheet"} <= properties(served.model).keys()


def _key(job: JobId) -> str:
    return f"sheet-of-{job}"

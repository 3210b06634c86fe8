"""`POST /v1/jobs/estimate`: what a job would take and when it would be ready, before anything is sent.

Promises: nothing is kept, and no file is read: of files that are still with the caller it is told what counts (kind,
size, pixels, duration). The figures are those that the job would be accepted with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import post

from springtide.domain.errors import InvalidInput
from springtide.domain.ids import BlobId
from springtide.engines.binding import bind
from springtide.engines.protocol import InputFile
from springtide.gateway import body
from springtide.gateway.context import AnyRequest, gateway_of, headers_of, tenant_of
from springtide.gateway.envelope import decode_body, in_words
from springtide.gateway.estimates import foretold
from springtide.gateway.intake import named_blobs, take_in

MOST_JOBS = 100_000
_Size = Annotated[int, msgspec.Meta(ge=0)]
_Pixels = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class FileFacts(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What counts of a file that has not been sent."""

    media_type: Annotated[str, msgspec.Meta(max_length=100)] = "application/octet-stream"
    bytes: _Size = 0
    width: _Pixels | None = None
    height: _Pixels | None = None
    duration_s: Annotated[float, msgspec.Meta(ge=0, le=1e7)] | None = None


class EstimateWish(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A job as `POST /v1/jobs` takes it. `files`: those that are not uploaded yet, by field; `jobs`: so many alike."""

    model: str
    inputs: dict[str, Any] = {}
    files: dict[str, FileFacts | list[FileFacts]] = {}
    jobs: Annotated[int, msgspec.Meta(ge=1, le=MOST_JOBS)] = 1


class EstimateView(msgspec.Struct, kw_only=True):
    """`predicted_s`: seconds of a worker (of its GPU, where it has one) for each job. `eta_s`: until the last of them
    will have ended, the median, with bounds as in AcceptedView; null where no worker is there or may come."""

    model: str
    jobs: int
    predicted_s: float
    eta_s: float | None
    eta_range_s: tuple[float, float] | None
    eta_likely_s: tuple[float, float] | None


@post("/v1/jobs/estimate", status_code=200, tags=["jobs"], summary="What a job would take")
async def estimate_job(request: AnyRequest) -> EstimateView:
    """Seconds of work and time until ready, of a job that is not submitted; what is wrong with it is told as then."""
    gateway = gateway_of(request)
    limit = gateway.services.settings.max_json_bytes
    body.refuse_announced(headers_of(request), limit)
    wish = _read(await body.read(request, limit))
    served = gateway.submission.served(wish.model)
    named = named_blobs(served, wish.inputs)
    intake = await take_in(gateway.services, named, fresh={}, tenant=tenant_of(request).id) if named else None
    inputs, files = dict(wish.inputs), dict(intake.files) if intake else {}
    for name, facts in wish.files.items():
        ids = [BlobId(f"{name}:{number}") for number in range(len(facts) if isinstance(facts, list) else 1)]
        files.update(zip(ids, map(_file, facts if isinstance(facts, list) else [facts]), strict=True))
        inputs[name] = ids if isinstance(facts, list) else ids[0]
    if intake and intake.errors:
        raise InvalidInput(in_words(intake.errors), errors=intake.errors)
    bound, _ = bind(type(served.engine).Input, inputs, files)
    predicted_s = gateway.outlook.predicted_s(served.model.name, foretold(served, bound))
    eta = await gateway.outlook.forecast(served.model.name, predicted_s, jobs=wish.jobs)
    return EstimateView(
        model=served.model.name,
        jobs=wish.jobs,
        predicted_s=round(predicted_s, 3),
        eta_s=None if eta is None else eta.s,
        eta_range_s=None if eta is None else (eta.low_s, eta.high_s),
        eta_likely_s=None if eta is None else (eta.likely_low_s, eta.likely_high_s),
    )


def _read(raw: bytes) -> EstimateWish:
    try:
        return msgspec.convert(decode_body(raw), EstimateWish)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{error}.", errors=[{"loc": "", "message": str(error)}]) from error


def _file(facts: FileFacts) -> InputFile:
    return InputFile(
        path=Path(),
        media_type=facts.media_type,
        bytes=facts.bytes,
        width=facts.width,
        height=facts.height,
        duration_s=facts.duration_s,
    )

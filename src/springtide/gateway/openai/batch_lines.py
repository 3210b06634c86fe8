"""The lines of a batch: what came in, and what goes out for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from springtide.domain.ids import BatchId, job_in_batch
from springtide.domain.job import Job, JobStatus
from springtide.gateway.openai import pictures, transcripts
from springtide.gateway.openai.errors import envelope
from springtide.gateway.openai.failures import failure
from springtide.gateway.openai.pictures import base64_of, facts, picture_of
from springtide.gateway.openai.reading import Asked
from springtide.gateway.openai.uses import Route
from springtide.gateway.openai.videos import video_of
from springtide.gateway.services import GatewayServices
from springtide.gateway.standing import Standing

ENDPOINTS = {
    "/v1/audio/transcriptions": Route.TRANSCRIPTIONS,
    "/v1/images/edits": Route.EDITS,
    "/v1/images/generations": Route.GENERATIONS,
    "/v1/videos": Route.VIDEOS,
}
MOST_LINES = 10_000  # of one batch; OpenAI takes 50,000
MOST_TOLD = 20  # errors of a file that is no batch


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """One request."""

    custom_id: str
    url: str
    body: dict[str, Any]
    method: str = "POST"


class LineError(msgspec.Struct, kw_only=True):
    """What is wrong with a line; the first is line 1."""

    code: str
    message: str
    line: int | None
    param: str | None = None


_decode = msgspec.json.Decoder(Line).decode


def read_lines(data: bytes, endpoint: str) -> tuple[list[Line], list[LineError]]:
    """Every request of a file, or what is wrong with it."""
    lines: list[Line] = []
    errors: list[LineError] = []
    seen: set[str] = set()
    rows = [row for row in data.splitlines() if row.strip()]
    if not rows:
        errors.append(LineError(code="empty_file", message="The file holds no requests.", line=None))
    if len(rows) > MOST_LINES:
        message = f"The file holds {len(rows)} requests, at most {MOST_LINES} are taken; send several."
        errors.append(LineError(code="too_many_jobs", message=message, line=None))
        rows = []
    for number, row in enumerate(rows, 1):
        try:
            line = _decode(row)
        except msgspec.DecodeError as error:
            errors.append(LineError(code="invalid_json_line", message=f"This is no request: {error}.", line=number))
            continue
        if line.url != endpoint or line.method != "POST":
            message = f"The batch is for POST {endpoint}, this line for {line.method} {line.url[:64]}."
            errors.append(LineError(code="mismatched_endpoint", message=message, line=number, param="url"))
        elif line.custom_id in seen:
            message = f"custom_id {line.custom_id[:64]!r} is there twice."
            errors.append(LineError(code="duplicate_custom_id", message=message, line=number, param="custom_id"))
        seen.add(line.custom_id)
        lines.append(line)
    return lines, errors[:MOST_TOLD]


class Outcomes:
    """What became of the lines of one batch, written out a page at a time."""

    def __init__(
        self, services: GatewayServices, batch: BatchId, lines: Sequence[Line], *, base: str, not_run: str
    ) -> None:
        """not_run: the code of lines that never became jobs; base: what URLs begin with."""
        self._services = services
        self._batch = batch
        self._lines = lines
        self._base = base
        self._not_run = not_run

    async def written(self, *, good: bool) -> AsyncIterator[bytes]:
        """The output file, or the error file."""
        for first in range(0, len(self._lines), 64):
            end = min(first + 64, len(self._lines))
            refused = {
                each.place: each for each in await self._services.batches.lines(self._batch, first=first, end=end)
            }
            jobs = {job.id: job for job in await self._services.batches.jobs(self._batch, first=first, end=end)}
            for place in range(first, end):
                line, job = self._lines[place], jobs.get(job_in_batch(self._batch, place))
                known = refused.get(place)
                if known is not None and known.problem is not None:
                    status, body = known.problem["status"], known.problem["body"]
                elif job is None or job.status in (JobStatus.CANCELLED, JobStatus.EXPIRED):
                    status, body = 0, None
                elif job.status is JobStatus.COMPLETED:
                    status, body = 200, await self._body(line, job) if good else None
                else:
                    status, told = failure(job)
                    body = msgspec.to_builtins(told)
                if (status == 200) is good:
                    yield self._row(line, place, status, body)

    def _row(self, line: Line, place: int, status: int, body: Any) -> bytes:
        row: dict[str, Any] = {"id": f"batch_req_{self._batch[6:]}_{place}", "custom_id": line.custom_id}
        if status:
            response = {"status_code": status, "request_id": job_in_batch(self._batch, place), "body": body}
            row |= {"response": response, "error": None}
        else:
            message = "This line was not run to its end."
            row |= {"response": None, "error": {"code": self._not_run, "message": message}}
        return msgspec.json.encode(row) + b"\n"

    async def _body(self, line: Line, job: Job) -> Any:
        """What the call would have answered; of pictures the URL, unless base64 is asked for."""
        services = self._services
        route = ENDPOINTS[line.url]
        if route is Route.VIDEOS:
            return video_of(Standing(job=job), keep_s=services.settings.keep_s)
        served = services.models.get(job.model)
        if served is None:
            return msgspec.to_builtins(envelope(404, "unknown_model", f"{job.model} is not served any more."))
        if route is Route.TRANSCRIPTIONS:
            return await transcripts.result(services, transcripts.read_wish(served.model, line.body), job)
        wish = pictures.read_wish(served.model, {"response_format": "url", **line.body})
        ref = picture_of(job, served.model)
        data: dict[str, Any] = {"url": f"{self._base}/v1/jobs/{job.id}/files/{ref.id}"} if wish.url else {}
        if wish.b64:
            chunks = [chunk async for chunk in base64_of(services.blobs.read(ref.id))]
            data["b64_json"] = b"".join(chunks).decode()
        return {"created": int(job.finished_at_s or job.created_at_s), "data": [data], **facts(job, wish, ref)}


def asked_of(line: Line) -> Asked:
    return Asked(values={key: value for key, value in line.body.items() if value is not None}, files={})

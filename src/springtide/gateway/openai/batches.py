"""Batches as OpenAI has them: a file of requests in, files of answers out, driven by whichever gateway is there.

A batch is one of ours (`ledger.batches`) whose jobs' ids follow from its own, so it can be taken up at any point by any
process: what has been fed is on record, what is left is read from the file again. Lines are fed while their models'
queues have room, with priority `batch`, and the answers are written when the last job has ended.

Promises: a batch on record comes to an end, whatever process dies in between; no line becomes two jobs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec

from springtide.domain.errors import InvalidInput, Refused, SpringtideError
from springtide.domain.ids import BatchId, BlobId, TenantId, job_in_batch
from springtide.domain.job import BlobRef, Priority
from springtide.domain.tenant import Tenant
from springtide.gateway import problems
from springtide.gateway.accept_spans import began_s, tell_accepted
from springtide.gateway.accepting import commit_with, filled
from springtide.gateway.context import Gateway
from springtide.gateway.openai import errors, files
from springtide.gateway.openai.batch_lines import ENDPOINTS, Line, Outcomes, asked_of, read_lines
from springtide.gateway.openai.calls import Calls, told_by_parameter
from springtide.gateway.openai.references import Finder
from springtide.gateway.submission import SubmitRequest
from springtide.gateway.tenancy import Tenancy
from springtide.gateway.uploads import Uploads
from springtide.ledger.batches import Batch, BatchLine
from springtide.ledger.openai import OpenAiRecord
from springtide.ledger.protocol import Inserted, StoredBlob
from springtide.runtime.ids import new_blob_id
from springtide.runtime.loops import Loop

log = logging.getLogger(__name__)

CHUNK = 32  # lines that share a commit; each may have a file to be looked at
LOOK_S = 1.0  # between two looks at batches that are not done
CLAIM_S = 20.0  # a batch whose process died is taken up by another after this
AT_ONCE = 8  # batches that are driven in one round
MOST_BYTES = 64 << 20  # of a file of requests, which is read into memory: 6 KiB a line
MOST_RESULT_BYTES = 8 << 30


class BatchDriver:
    """A service: `start`, `stop`; `drive` by hand."""

    def __init__(self, gateway: Gateway, calls: Calls, tenancy: Tenancy) -> None:
        self._gateway = gateway
        self._tenancy = tenancy
        self._services = gateway.services
        self._calls = calls
        self._claims: dict[str, float] = {}
        self._loop = Loop("batches", self.drive, every_s=LOOK_S, clock=gateway.services.clock)

    async def start(self) -> None:
        await self._loop.start()

    async def stop(self) -> None:
        await self._loop.stop()

    async def drive(self) -> None:
        """One round over all batches that are not done, and over files past their time."""
        now_s = self._services.clock.now_s()
        for record in await self._services.openai.expired(now_s, limit=64):
            if not record.is_open:
                await self._services.openai.drop(record.kind, record.id, now_s)
        for record in await self._services.openai.open(limit=AT_ONCE):
            now_s = self._services.clock.now_s()
            mine_until_s = self._claims.get(record.id, now_s)
            if await self._services.openai.claim(record.id, max(now_s, mine_until_s), until_s=now_s + CLAIM_S):
                self._claims[record.id] = now_s + CLAIM_S
                await self._drive(record)

    async def _drive(self, record: OpenAiRecord) -> None:
        services, id = self._services, BatchId(record.id)
        batch = await services.batches.get(id)
        if batch is None:  # retention was quicker
            await self._end(record, "failed", {})
            return
        is_late = services.clock.now_s() > record.body["expires_at_s"]
        is_stopping = batch.cancel_asked_at_s is not None or is_late
        if is_stopping:
            await self._gateway.batch_standings.cancel(batch)
        elif batch.received < batch.total:
            await self._feed(record, batch)
            return
        tally = await services.batches.tally(id)
        if any(not each.status.is_terminal for each in tally):
            return
        is_short = batch.received < batch.total or any(each.status.value == "cancelled" for each in tally)
        ends = "completed" if not is_stopping or not is_short else "expired" if is_late else "cancelled"
        await self._finish(record, batch, ends)

    async def _feed(self, record: OpenAiRecord, batch: Batch) -> None:
        """Make jobs of the next lines, until all are or a queue is full."""
        services = self._services
        lines = await self._lines(record)
        tenant = self._tenancy.named(record.tenant)
        at = batch.received
        while at < batch.total and not services.stopping.is_set():
            end = min(at + CHUNK, batch.total)
            known = {job.id for job in await services.batches.jobs(batch.id, first=at, end=end)}
            made = await asyncio.gather(
                *(
                    self._make(lines[place], batch.id, place, tenant)
                    for place in range(at, end)
                    if job_in_batch(batch.id, place) not in known
                )
            )
            refused = [line for line in made if isinstance(line, BatchLine)]
            no_room = [place for place in made if isinstance(place, int)]
            at = min(no_room, default=end)
            fresh = await services.batches.note(
                batch.id,
                at,
                services.clock.now_s(),
                lines=[line for line in refused if line.place < at],
                closed=at >= batch.total,
            )
            if no_room or fresh is None or fresh.cancel_asked_at_s is not None:
                return

    async def _make(self, line: Line, batch: BatchId, place: int, tenant: Tenant) -> BatchLine | int | None:
        """The job of a line. Else what is wrong with it, or its place where there is no room now."""
        gateway = self._gateway
        came_s = began_s(self._services.clock)
        common = SubmitRequest(
            model="", inputs={}, tenant=tenant, priority=Priority.BATCH, id=job_in_batch(batch, place)
        )
        try:
            if line.body.get("stream"):
                raise InvalidInput("stream: a batch streams nothing.", errors=[{"loc": "stream"}])
            async with Uploads(gateway.services, tenant.id) as uploads:
                finder = Finder(gateway.services, tenant.id)
                call = await self._calls.plan(ENDPOINTS[line.url], asked_of(line), finder, common=common)
                with told_by_parameter(call):
                    ready = await filled(gateway, call.request, uploads)
                    if not isinstance(ready, Inserted):
                        made = await commit_with(gateway.submission, await gateway.submission.prepare(ready), uploads)
                        tell_accepted(self._services.clock, came_s, [made])
            return None
        except Refused:
            return place
        except SpringtideError as error:
            status = errors.status_here(problems.status_of(error), error.code)
            body = errors.envelope(status, error.code, error.message, param=errors.param_of(error.details))
            return BatchLine(place=place, problem={"status": status, "body": msgspec.to_builtins(body)})

    async def _finish(self, record: OpenAiRecord, batch: Batch, status: str) -> None:
        """Write the answers, then the end."""
        lines = await self._lines(record)
        not_run = "batch_expired" if status == "expired" else "batch_cancelled"
        outcomes = Outcomes(self._services, batch.id, lines, base=record.body["base"], not_run=not_run)
        found = {
            "output_file_id": await self._written(record, outcomes, good=True),
            "error_file_id": await self._written(record, outcomes, good=False),
        }
        await self._end(record, status, found)

    async def _written(self, record: OpenAiRecord, outcomes: Outcomes, *, good: bool) -> str | None:
        services, blob = self._services, new_blob_id()
        rows = outcomes.written(good=good)
        written = await services.blobs.put(blob, rows, max_bytes=MOST_RESULT_BYTES)
        if written.bytes == 0:
            await services.blobs.delete(blob)
            return None
        name = f"{record.id}_{'output' if good else 'error'}.jsonl"
        ref = BlobRef(id=blob, media_type="application/jsonl", bytes=written.bytes, sha256=written.sha256, name=name)
        now_s = services.clock.now_s()
        stored = StoredBlob(ref=ref, tenant=record.tenant, created_at_s=now_s, loose_since_s=now_s)
        await services.ledger.put_blobs([stored])
        tenant = self._tenancy.named(record.tenant)
        expires_s = record.body.get("output_expires_s")
        await files.keep(services, tenant, stored, purpose="batch_output", expires_s=expires_s)
        return blob

    async def _end(self, record: OpenAiRecord, status: str, found: dict[str, Any]) -> None:
        now_s, keep_s = self._services.clock.now_s(), self._services.settings.keep_s
        body = {**record.body, **found, "status": status, "ended_at_s": now_s}
        gone_s = None if keep_s is None else now_s + keep_s
        await self._services.openai.put(msgspec.structs.replace(record, is_open=False, expires_at_s=gone_s, body=body))
        self._claims.pop(record.id, None)
        log.info("batch %s: %s", record.id, status)

    async def _lines(self, record: OpenAiRecord) -> list[Line]:
        data = await file_bytes(self._gateway, BlobId(record.body["input_file_id"]), record.tenant)
        return read_lines(data, record.label)[0]


async def file_bytes(gateway: Gateway, blob: BlobId, tenant: TenantId) -> bytes:
    """A file of requests. The batch holds it, so it stays when the file is deleted."""
    [stored] = await gateway.services.ledger.get_blobs([blob])
    if stored is None or stored.tenant != tenant or stored.ref.bytes > MOST_BYTES:
        message = f"A file of requests has at most {MOST_BYTES} bytes."
        raise InvalidInput(message, errors=[{"loc": "input_file_id", "message": message}])
    return b"".join([chunk async for chunk in gateway.services.blobs.read(blob)])

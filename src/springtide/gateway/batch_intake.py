"""Batches on their way in: each item becomes a job or a refusal, a hundred at a time, and others get their turn.

Promises: when `take_in` returns every accepted item is on disk; a wrong item takes no other along; the same request
with the same idempotency key makes no second batch, and goes on where one was cut off by a crash. The ids of a batch's
jobs follow from its own, so whatever was on its way is found again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from springtide.domain.errors import CallerError, Conflict, InvalidInput, SpringtideError
from springtide.domain.ids import BatchId, JobId, batch_id, job_in_batch
from springtide.domain.job import Job
from springtide.domain.tenant import Tenant
from springtide.gateway import headers as http
from springtide.gateway.accept_spans import began_s, tell_accepted
from springtide.gateway.batch_body import Sent
from springtide.gateway.envelope import decode_json, in_words, read_envelope
from springtide.gateway.fetching import Fetching
from springtide.gateway.intake import named_blobs
from springtide.gateway.retrying import Retrying
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import Prepared, Submission, SubmitRequest
from springtide.gateway.uploads import Uploads
from springtide.ledger.batches import Batch, BatchLine
from springtide.ledger.protocol import Inserted
from springtide.runtime.ids import new_job_id

KEY = "idempotency_key"
CHUNK = 128  # items that share a commit: some 10 ms
SLICE = 32  # items between two looks at what else there is to do: some 2 ms
INSPECTED_AT_ONCE = 8  # items whose files are looked at: the inspector has few processes
BUSY_S = 60.0  # a batch that was not touched for so long is nobody's: a chunk takes seconds, media included

Outcome = Prepared | Inserted | SpringtideError
ToProblem = Callable[[SpringtideError, int], dict[str, Any]]


class BatchIntake:
    """Takes batches in."""

    def __init__(
        self, services: GatewayServices, submission: Submission, retrying: Retrying, fetching: Fetching
    ) -> None:
        self._services = services
        self._submission = submission
        self._fetching = fetching
        self._retrying = retrying
        self._in_hand: set[BatchId] = set()

    def is_in_hand(self, batch: Batch) -> bool:
        """Whether somebody takes it in now, here or in another process."""
        if batch.closed_at_s is not None:
            return False
        return batch.id in self._in_hand or self._services.clock.now_s() - batch.touched_at_s < BUSY_S

    async def take_in(self, sent: Sent, common: SubmitRequest, to_problem: ToProblem) -> tuple[Batch, bool]:
        """The batch, and whether it is new. common: what all its jobs share; its key is the batch's. to_problem: how a
        refusal at a place is told. Raises InvalidInput (idempotency_key_reused) and Conflict (batch_busy)."""
        batch, is_new = await self._begin(common.tenant, sent.total, sent.fingerprint, key=common.idempotency_key)
        if batch.closed_at_s is not None:
            return batch, False
        common = msgspec.structs.replace(common, idempotency_key=None)

        async def outcomes(place: int, items: list[bytes], uploads: Uploads) -> list[Outcome]:
            return await self._read(batch.id, place, items, common=common, uploads=uploads)

        slices = sent.slices(CHUNK, start=batch.received)
        return await self._take(batch, slices, outcomes, to_problem, is_new=is_new), is_new

    async def again(
        self, old: Batch, jobs: Sequence[Job], common: SubmitRequest, to_problem: ToProblem
    ) -> tuple[Batch, bool]:
        """A batch of the same jobs once more. The same one for the same batch, unless there is a key."""
        key = common.idempotency_key or f"retry/{old.id}"
        batch, is_new = await self._begin(common.tenant, len(jobs), f"retry/{old.id}", key=key, retry_of=old.id)
        if batch.closed_at_s is not None:
            return batch, False

        async def outcomes(place: int, items: list[Job], _: Uploads) -> list[Outcome]:
            return [await self._again(batch.id, place + n, job, common) for n, job in enumerate(items)]

        slices = (list(jobs[at : at + CHUNK]) for at in range(batch.received, len(jobs), CHUNK))
        return await self._take(batch, slices, outcomes, to_problem, is_new=is_new), is_new

    async def _begin(
        self, tenant: Tenant, total: int, fingerprint: str, *, key: str | None, retry_of: BatchId | None = None
    ) -> tuple[Batch, bool]:
        now_s = self._services.clock.now_s()
        fresh = Batch(
            id=batch_id(new_job_id()),
            tenant=tenant.id,
            created_at_s=now_s,
            total=total,
            fingerprint=fingerprint,
            idempotency_key=key,
            retry_of=retry_of,
            touched_at_s=now_s,
        )
        batch = await self._services.batches.begin(fresh)
        if batch.id == fresh.id:
            return batch, True
        if batch.fingerprint != fingerprint:
            raise InvalidInput(
                f"The idempotency key was used for another request ({batch.id}).", code="idempotency_key_reused"
            )
        if self.is_in_hand(batch):
            raise Conflict(f"The batch {batch.id} is being taken in; ask again.", code="batch_busy", batch=batch.id)
        return batch, False

    async def _take(
        self, batch: Batch, slices: Iterator[list[Any]], outcomes: Any, to_problem: ToProblem, *, is_new: bool
    ) -> Batch:
        self._in_hand.add(batch.id)
        try:
            place = batch.received
            for items in slices:
                came_s = began_s(self._services.clock)
                async with Uploads(self._services, batch.tenant) as uploads:  # what is fetched from URLs
                    found = await outcomes(place, items, uploads)
                    if not is_new:  # what a crash left of it is there, whatever the queue has room for now
                        found = await self._as_recorded(batch.id, place, found)
                    results = await self._commit(found, uploads)
                tell_accepted(self._services.clock, came_s, results)
                lines = _lines(batch.id, place, results, to_problem)
                place += len(items)
                noted = await self._services.batches.note(
                    batch.id, place, self._services.clock.now_s(), lines=lines, closed=place >= batch.total
                )
                if noted is None:  # retention took it: it was begun long ago
                    raise Conflict(f"The batch {batch.id} is gone; send it anew.", code="batch_busy")
                batch = noted
                if batch.cancel_asked_at_s is not None and place < batch.total:
                    raise Conflict(
                        f"The batch {batch.id} was cancelled while it was taken in.",
                        code="batch_cancelled",
                        batch=batch.id,
                    )
        finally:
            self._in_hand.discard(batch.id)
        return batch

    async def _as_recorded(self, batch: BatchId, first: int, outcomes: Sequence[Outcome]) -> list[Outcome]:
        known = {
            job.id: job for job in await self._services.batches.jobs(batch, first=first, end=first + len(outcomes))
        }
        names = [job_in_batch(batch, place) for place in range(first, first + len(outcomes))]
        return [
            Inserted(known[name], False) if name in known else outcome
            for name, outcome in zip(names, outcomes, strict=True)
        ]

    async def _commit(self, outcomes: Sequence[Outcome], uploads: Uploads) -> list[Inserted | SpringtideError]:
        """Every item's result. Files that were fetched for items go, but for those of jobs that are new."""
        prepared = [one for one in outcomes if isinstance(one, Prepared)]
        fetched = uploads.keep()  # jobs may be on record from here on
        committed = await self._submission.commit_each(prepared) if prepared else []
        for one, result in zip(prepared, committed, strict=True):
            if isinstance(result, Inserted) and result.is_new:
                for blob in one.fresh:
                    fetched.pop(blob, None)
        uploads.refs = fetched
        results = iter(committed)
        return [next(results) if isinstance(one, Prepared) else one for one in outcomes]

    async def _read(
        self, batch: BatchId, first: int, items: Sequence[bytes], *, common: SubmitRequest, uploads: Uploads
    ) -> list[Outcome]:
        """Each item as a valid job, or what is wrong with it."""
        inspecting = asyncio.Semaphore(INSPECTED_AT_ONCE)

        async def with_files(asked: SubmitRequest) -> Outcome:
            async with inspecting:
                return await self._prepared(asked, uploads)

        outcomes: dict[int, Outcome] = {}
        slow: dict[int, asyncio.Task[Outcome]] = {}
        async with asyncio.TaskGroup() as tasks:
            for place, item in enumerate(items, first):
                if place % SLICE == 0:
                    await self._services.clock.sleep(0)
                try:
                    asked = _asked(item, common, job_in_batch(batch, place))
                    if self._has_files(asked):
                        slow[place] = tasks.create_task(with_files(asked))
                    else:
                        outcomes[place] = await self._prepared(asked, uploads)
                except SpringtideError as error:
                    outcomes[place] = error
        places = range(first, first + len(items))
        return [slow[place].result() if place in slow else outcomes[place] for place in places]

    def _has_files(self, asked: SubmitRequest) -> bool:
        served = self._submission.served(asked.model)
        return bool(asked.then or named_blobs(served, asked.inputs) or self._fetching.wants(asked))

    async def _prepared(self, asked: SubmitRequest, uploads: Uploads) -> Outcome:
        try:
            if self._fetching.wants(asked):
                asked = await self._fetching.fill(asked, uploads)
            return await self._submission.prepare(asked)
        except SpringtideError as error:
            return error
        except Exception as error:  # a bug, perhaps in one model's code: the others go on
            broken = SpringtideError(f"{asked.model} cannot take it in: {error}")
            broken.__cause__ = error
            return broken

    async def _again(self, batch: BatchId, place: int, job: Job, common: SubmitRequest) -> Outcome:
        try:
            return await self._retrying.prepare(
                job, common.tenant, key=None, traceparent=common.traceparent, id=job_in_batch(batch, place)
            )
        except SpringtideError as error:
            return error


def _asked(item: bytes, common: SubmitRequest, id: JobId) -> SubmitRequest:
    """One item as a request. Raises CallerError."""
    raw: Any = decode_json(item)
    if not isinstance(raw, dict):
        raise InvalidInput("An item must be an object with at least 'model'.")
    key = raw.pop(KEY, None)
    if key is not None and not isinstance(key, str):
        raise CallerError("idempotency_key must be text.", code="bad_idempotency_key")
    envelope = read_envelope(raw)
    if not envelope.model:
        errors = envelope.errors
        raise InvalidInput(in_words(errors), errors=errors)
    return msgspec.structs.replace(
        common,
        id=id,
        model=envelope.model,
        inputs=envelope.inputs,
        priority=envelope.priority,
        start_deadline_s=envelope.start_deadline_s,
        then=envelope.then,
        idempotency_key=None if key is None else http.checked_key(key),
        errors=envelope.errors,
    )


def _lines(
    batch: BatchId, first: int, results: Sequence[Inserted | SpringtideError], to_problem: ToProblem
) -> list[BatchLine]:
    """What has to be written down: refusals, and jobs that were known before."""
    lines: list[BatchLine] = []
    for place, result in enumerate(results, first):
        if isinstance(result, SpringtideError):
            lines.append(BatchLine(place=place, problem=to_problem(result, place)))
        elif result.job.id != job_in_batch(batch, place):
            lines.append(BatchLine(place=place, job=result.job.id))
    return lines

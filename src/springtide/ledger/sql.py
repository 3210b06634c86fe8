"""The ledger on SQLite or PostgreSQL, picked by URL. `ledger.protocol` says what it promises.

All writes pass one queue and share transactions (group commit): whoever comes while one commit is on its way to disk
travels with the next, up to 512 at once. An operation that the database refuses is taken out of its batch and fails
alone. Concurrent `get`s share queries in the same way.

Refuses any other URL, a database in memory, and a schema newer than this code (ConfigError).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ArgumentError

from springtide.domain.errors import ConfigError, InvalidInput, OutcomeUnknown, SpringtideError, Unavailable
from springtide.domain.ids import BlobId, JobId, TenantId, first_job_id_at
from springtide.domain.job import Job
from springtide.domain.lease import LiveJob, Outcome
from springtide.ledger import keeping, reads, rows, writes
from springtide.ledger.bulk import MAX_ROWS
from springtide.ledger.database import NOT_DONE, BrokenLine, Database, ShortWay
from springtide.ledger.failures import FAILURES, is_own, translated
from springtide.ledger.protocol import Attempt, Inserted, JobFilter, LiveRef, PendingUpload, StoredBlob
from springtide.ledger.sql_batches import SqlBatches, SqlSecrets
from springtide.ledger.sql_history import SqlHistory
from springtide.ledger.sql_keys import SqlKeys
from springtide.ledger.sql_openai import SqlOpenAi
from springtide.ledger.sql_orders import SqlOrders
from springtide.ledger.sql_rollouts import SqlRollouts
from springtide.ledger.sql_usage import SqlUsage
from springtide.ledger.sql_webhooks import SqlWebhooks
from springtide.ledger.sqlite import SqliteDatabase
from springtide.ledger.writes import Kind, Uncertain, Write
from springtide.ledger.writing import Writing
from springtide.runtime.batching import Batcher

R = TypeVar("R")

_OWN_OR_DATABASE = (*FAILURES, OverflowError, UnicodeError)  # the last two: values the driver cannot send


class SqlLedger:
    """`Ledger` at `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://user@host/name`."""

    def __init__(self, url: str, *, aside: Writing | None = None) -> None:
        """aside: for SQLite, a process of its own that writes while much is written."""
        self._database = _database(url, aside)
        self._shown = make_url(url).set(query={}).render_as_string(hide_password=True)
        ways: list[Batcher[Write, Any]] = [
            Batcher(partial(self._flush, short=short), max_items=MAX_ROWS)
            for short in self._database.short_ways() or (None,)
        ]
        self._writes, self._inserts = ways[0], ways[-1]
        self._gets: Batcher[JobId, Job | None] = Batcher(self._get_batch, max_items=MAX_ROWS)
        self._is_running = False
        self.history = SqlHistory(self)
        self.keys = SqlKeys(self)
        self.batches = SqlBatches(self)
        self.secrets = SqlSecrets(self)
        self.webhooks = SqlWebhooks(self)
        self.openai = SqlOpenAi(self)
        self.orders = SqlOrders(self)
        self.usage = SqlUsage(self)
        self.rollouts = SqlRollouts(self)

    async def start(self) -> None:
        try:
            await self._database.start()
        except FAILURES as error:
            found = translated(error)
            if isinstance(found, Unavailable):
                found = Unavailable(f"{found.message} ([ledger] url = {self._shown})")
            raise found from error
        self._is_running = True

    async def stop(self) -> None:
        self._is_running = False
        await self._inserts.drain()
        await self._writes.drain()
        await self._gets.drain()
        await self._database.stop()

    # --- jobs -------------------------------------------------------------------------------------------------------

    async def insert(self, jobs: Sequence[Job]) -> list[Inserted]:
        self._check_running()
        results = await self._inserts.submit([_insertion(job) for job in jobs])
        return [_inserted(job, result) for job, result in zip(jobs, results, strict=True)]

    async def insert_each(self, jobs: Sequence[Job]) -> list[Inserted | SpringtideError]:
        self._check_running()
        results: list[Inserted | SpringtideError] = []
        sound: list[tuple[int, Write]] = []
        for job in jobs:
            try:
                sound.append((len(results), _insertion(job)))
                results.append(Inserted(job, True))
            except InvalidInput as refusal:
                results.append(refusal)
        written = await self._inserts.submit_each([write for _, write in sound])
        for (place, _), result in zip(sound, written, strict=True):
            if isinstance(result, SpringtideError):
                results[place] = result
            elif isinstance(result, Exception):
                raise result  # a bug
            elif result is not True:
                results[place] = _inserted(jobs[place], result)
        return results

    async def get(self, ids: Sequence[JobId]) -> list[Job | None]:
        self._check_running()
        return await self._gets.submit(ids)

    async def keyed(self, keys: Sequence[tuple[TenantId, str]]) -> list[Job | None]:
        found = [rows.job_from(row) for row in await self.read(partial(reads.jobs_by_keys, keys=keys))]
        jobs = {(job.tenant, job.idempotency_key): job for job in found}
        return [jobs.get(key) for key in keys]

    async def list(self, where: JobFilter, *, after: JobId | None, limit: int) -> list[Job]:
        found = await self.read(partial(reads.jobs_newest_first, where=where, after=after, limit=limit))
        return [rows.job_from(row) for row in found]

    async def live(self, *, after: JobId | None, limit: int, created_before_s: float) -> list[LiveRef]:
        found = await self.read(partial(reads.live_jobs, after=after, limit=limit, created_before_s=created_before_s))
        return [LiveRef(*row) for row in found]

    async def live_pipelines(self, *, after: JobId | None, limit: int) -> list[Job]:
        return [rows.job_from(row) for row in await self.read(partial(reads.live_pipelines, after=after, limit=limit))]

    async def ask_cancel(self, job: JobId, now_s: float) -> None:
        await self._write([Write(Kind.CANCEL, (job, now_s))])

    async def record_running(self, running: Sequence[LiveJob]) -> None:
        await self._write([Write(Kind.RUNNING, rows.running_row(each)) for each in running])

    async def record(self, outcomes: Sequence[Outcome]) -> list[bool]:
        return await self._write([_ending(outcome) for outcome in outcomes])

    async def attempts(self, job: JobId) -> list[Attempt]:
        return [rows.attempt_from(row) for row in await self.read(partial(reads.attempts_of, job=job))]

    # --- blobs ------------------------------------------------------------------------------------------------------

    async def put_blobs(self, blobs: Sequence[StoredBlob]) -> None:
        await self._write([Write(Kind.BLOB, rows.blob_row(blob)) for blob in blobs])

    async def get_blobs(self, ids: Sequence[BlobId]) -> list[StoredBlob | None]:
        found = dict(rows.blob_from(row) for row in await self.read(partial(reads.blobs_by_ids, ids=ids)))
        return [found.get(blob) for blob in ids]

    # --- uploads that clients make themselves ---------------------------------------------------------------------

    async def put_upload(self, upload: PendingUpload) -> None:
        await self.write(partial(keeping.put_upload, row=rows.upload_row(upload)))

    async def get_upload(self, blob: BlobId) -> PendingUpload | None:
        row = await self.read(partial(keeping.upload_by_id, blob=blob))
        return None if row is None else rows.upload_from(row)

    async def claim_upload(self, blob: BlobId, now_s: float, *, stale_before_s: float) -> bool:
        claim = partial(keeping.claim_upload, blob=blob, now_s=now_s, stale_before_s=stale_before_s)
        return await self.write(claim)

    async def release_upload(self, blob: BlobId) -> None:
        await self.write(partial(keeping.release_upload, blob=blob))

    async def finish_upload(self, blob: StoredBlob) -> None:
        await self.write(partial(keeping.finish_upload, blob=blob.ref.id, row=rows.blob_row(blob)))

    async def drop_uploads(self, blobs: Sequence[BlobId]) -> None:
        await self.write(partial(keeping.drop_uploads, ids=blobs))

    async def stale_uploads(self, *, expired_before_s: float, limit: int) -> list[BlobId]:
        found = await self.read(partial(keeping.stale_uploads, before_s=expired_before_s, limit=limit))
        return [BlobId(row[0]) for row in found]

    # --- what is kept for a time --------------------------------------------------------------------------------------

    async def ended(self, *, before_s: float, after: JobId | None, limit: int) -> list[JobId]:
        oldest = partial(keeping.ended_jobs, after=after, born_before=first_job_id_at(before_s))
        return [JobId(row[0]) for row in await self.read(partial(oldest, before_s=before_s, limit=limit))]

    async def forget(self, jobs: Sequence[JobId], *, loose_since_s: float) -> None:
        await self.write(partial(keeping.forget_jobs, ids=jobs, loose_since_s=loose_since_s))

    async def loose_blobs(self, *, before_s: float, limit: int) -> list[BlobId]:
        found = await self.read(partial(keeping.loose_blobs, before_s=before_s, limit=limit))
        return [BlobId(row[0]) for row in found]

    async def drop_blobs(self, blobs: Sequence[BlobId]) -> None:
        await self.write(partial(keeping.drop_blobs, ids=blobs))

    # --- batches ----------------------------------------------------------------------------------------------------

    async def _write(self, operations: Sequence[Write]) -> list[Any]:
        self._check_running()
        return await self._writes.submit(operations)

    async def write(self, work: Callable[[Connection], R]) -> R:
        """Run `work` in the next transaction: for what is rare enough for plain statements."""
        [result] = await self._write([Write(Kind.RARE, (work,))])
        return result

    async def _flush(self, operations: list[Write], *, short: ShortWay | None) -> list[Any]:
        """By the short way where there is one, and what has not gone through by that once more by the long one."""
        if short is None:
            return await self._commit(operations)
        try:
            results = await short.apply(operations)
        except BrokenLine:
            return await self._commit_again(operations)
        left = [one for one, result in zip(operations, results, strict=True) if result is NOT_DONE]
        if len(left) == len(operations):
            return await self._commit(operations)
        later = iter(await self._commit(left) if left else ())
        return [next(later) if result is NOT_DONE else result for result in results]

    async def _commit_again(self, operations: list[Write]) -> list[Any]:
        """What may have been done already: doing it twice changes nothing, and is answered as if it were the first
        time. Raises OutcomeUnknown where it cannot be done."""
        try:
            results = await self._commit(operations)
            unsure = [
                one.row[0]
                for one, result in zip(operations, results, strict=True)
                if one.kind is Kind.OUTCOME and result is False
            ]
            found = await self._database.read(partial(reads.jobs_by_ids, ids=unsure)) if unsure else []
        except (Unavailable, *FAILURES) as error:
            raise OutcomeUnknown(f"whether this is on record is not known: {translated(error).message}") from error
        own = {writes.end_of(row) for row in found}
        return [_own(one, result, own) for one, result in zip(operations, results, strict=True)]

    async def _commit(self, operations: list[Write]) -> list[Any]:
        """One transaction where all goes well. The second and third try cost time only where something is unusual."""
        try:
            try:
                return await self._database.write(partial(writes.apply, writes=operations, careful=False))
            except Uncertain:
                return await self._database.write(partial(writes.apply, writes=operations, careful=True))
        except _OWN_OR_DATABASE as error:
            if not is_own(error):
                raise translated(error) from error
        try:
            return await self._database.write(partial(_one_by_one, operations=operations))
        except FAILURES as error:
            raise translated(error) from error

    async def _get_batch(self, ids: list[JobId]) -> list[Job | None]:
        found = await self.read(partial(reads.jobs_by_ids, ids=list(dict.fromkeys(ids))))
        jobs = {row[0]: rows.job_from(row) for row in found}
        return [jobs.get(job) for job in ids]

    async def read(self, query: Callable[[Connection], R]) -> R:
        """Run `query` on a connection that sees every write that has returned."""
        self._check_running()
        try:
            return await self._database.read(query)
        except _OWN_OR_DATABASE as error:
            raise translated(error) from error

    def _check_running(self) -> None:
        if not self._is_running:
            raise Unavailable("the ledger is not running")


def _own(one: Write, result: Any, ends: Set[rows.Row]) -> Any:
    """The result of what may have been done before: ids are new, so the row with an inserted job's id is its own, and
    so is an end with the same status and the same time."""
    if one.kind is Kind.OUTCOME:
        return result or (result is False and writes.end_told(one.row) in ends)
    if one.kind is not Kind.INSERT or result is True or isinstance(result, Exception):
        return result
    return True if result[0] == one.row[0] else result


def _inserted(job: Job, result: Any) -> Inserted:
    """True, or the row of the job that was there already."""
    return Inserted(job, True) if result is True else Inserted(rows.job_from(result), False)


def _insertion(job: Job) -> Write:
    files = rows.file_rows(job.id, job.input_files, job.created_at_s) if job.input_files else ()
    return Write(Kind.INSERT, rows.job_row(job), files)


def _ending(outcome: Outcome) -> Write:
    files = rows.file_rows(outcome.id, outcome.output_files, outcome.finished_at_s) if outcome.output_files else ()
    return Write(Kind.OUTCOME, rows.outcome_row(outcome), files)


def _one_by_one(connection: Connection, operations: Sequence[Write]) -> list[Any]:
    """Each operation under a savepoint of its own, still in one transaction. A refused one's result is its error."""
    results: list[Any] = []
    for operation in operations:
        try:
            with connection.begin_nested():
                results += writes.apply(connection, [operation], careful=True)
        except _OWN_OR_DATABASE as error:
            if not is_own(error):
                raise
            refusal = translated(error)
            refusal.__cause__ = error
            results.append(refusal)
    return results


def _database(url: str, aside: Writing | None) -> Database:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError(f"ledger.url is not a URL: {error}") from error
    if parsed.drivername == "sqlite":
        return SqliteDatabase(parsed, aside)
    if parsed.drivername in {"postgresql", "postgresql+asyncpg"}:
        from springtide.ledger.postgres import PostgresDatabase  # 12 MB that SQLite has no use for

        return PostgresDatabase(parsed)
    raise ConfigError(f"ledger.url starts with {parsed.drivername}://; allowed are sqlite:/// and postgresql://")

"""Old things go, in an order that a crash cannot hurt, and nothing goes that anybody has."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from springtide.blobs.files import FileBlobs
from springtide.controller import retention as retention_module
from springtide.controller.retention import LEFTOVER_S, MARGIN_S, Retention, RetentionSettings
from springtide.domain.errors import NotFound, Unavailable
from springtide.domain.fleet import Decision
from springtide.domain.ids import DEFAULT_TENANT, BlobId, JobId, ModelName, batch_id, job_in_batch
from springtide.domain.job import BlobRef, Job, JobError, JobStatus, Priority
from springtide.domain.lease import Outcome
from springtide.ledger.batches import Batch, BatchLine
from springtide.ledger.history import FleetSample, Scaled
from springtide.ledger.protocol import PendingUpload, StoredBlob
from springtide.ledger.sql import SqlLedger
from springtide.ledger.tables import metadata
from springtide.ledger.usage import day_of
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.testing.blobs_suite import read_all, stream
from springtide.testing.clock import ManualClock

KEEP_S = 7 * 86_400.0
ORPHANS_S = 86_400.0
USAGE_S = 30 * 86_400.0
# Tables that are not the sweep's: who keeps each small, or why it stays small by itself.
ELSEWHERE = {
    "webhook_deliveries": "controller/webhooks.py, after [webhooks] keep_s",
    "openai_records": "gateway/openai/batches.py, after [ledger] keep_s",
    "webhooks": "until their tenant deletes them, at most [webhooks] max_per_tenant",
    "api_keys": "until an operator deletes them",
    "orders": "one for a model, pool or worker",
    "memories": "a few for a model",
    "rollouts": "a handful a year",
    "secrets": "one for a purpose",
}


class World:
    """A ledger, a blob store, a clock that stands at the present, and a sweep of both."""

    def __init__(self, ledger: SqlLedger, blobs: FileBlobs, keep_s: float | None = KEEP_S) -> None:
        self.ledger = ledger
        self.blobs = blobs
        self.clock = ManualClock(time.time())  # ids carry the time at which they are made
        settings = RetentionSettings(keep_s=keep_s, keep_orphans_s=ORPHANS_S, keep_usage_s=USAGE_S)
        self.retention = Retention(
            ledger, ledger.batches, ledger.history, blobs, usage=ledger.usage, settings=settings, clock=self.clock
        )

    async def later(self, seconds: float) -> None:
        """Time passes as it does in a running service, then a round."""
        await self.clock.advance(seconds)
        await self.retention.sweep()

    async def blob(self, *, on_record: bool = True) -> BlobRef:
        ref = BlobRef(id=new_blob_id(), media_type="image/png", bytes=3, sha256="a" * 64)
        await self.blobs.put(ref.id, stream(b"abc"), max_bytes=9)
        if on_record:
            now_s = self.clock.now_s()
            await self.ledger.put_blobs(
                [StoredBlob(ref=ref, tenant=DEFAULT_TENANT, created_at_s=now_s, loose_since_s=now_s)]
            )
        return ref

    async def job(self, *files: BlobRef, ended: bool = True, id: JobId | None = None) -> Job:
        job = Job(
            id=id or new_job_id(),
            tenant=DEFAULT_TENANT,
            model=ModelName("m"),
            model_version="1",
            status=JobStatus.QUEUED,
            inputs={},
            input_files=files,
            priority=Priority.STANDARD,
            max_attempts=1,
            timeout_s=1,
            predicted_s=1,
            created_at_s=self.clock.now_s(),
        )
        await self.ledger.insert([job])
        if ended:
            await self.end(job)
        return job

    async def end(self, job: Job, *files: BlobRef) -> None:
        now_s = self.clock.now_s()
        outcome = Outcome(
            seq="1-0",
            id=job.id,
            model=job.model,
            status=JobStatus.COMPLETED,
            attempt=1,
            finished_at_s=now_s,
            outputs={},
            output_files=files,
        )
        await self.ledger.record([outcome])

    async def announce(self, blob: BlobId) -> None:
        now_s = self.clock.now_s()
        await self.ledger.put_upload(
            PendingUpload(
                id=blob,
                tenant=DEFAULT_TENANT,
                bytes=3,
                name=None,
                media_type=None,
                sha256=None,
                created_at_s=now_s,
                expires_at_s=now_s + 600,
                token_sha256="",
            )
        )

    async def has_job(self, job: JobId) -> bool:
        return await self.ledger.get([job]) != [None]

    async def has_bytes(self, blob: BlobId) -> bool:
        try:
            return await read_all(self.blobs, blob) == b"abc"
        except NotFound:
            return False

    async def is_on_record(self, blob: BlobId) -> bool:
        return await self.ledger.get_blobs([blob]) != [None]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ledger, blobs = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}"), FileBlobs(tmp_path / "blobs")
    await ledger.start()
    await blobs.start()
    yield World(ledger, blobs)
    await ledger.stop()


async def test_an_ended_job_goes_with_its_files_once_its_time_is_over(world: World) -> None:
    given, made = await world.blob(), await world.blob(on_record=False)
    job = await world.job(given, ended=False)
    await world.end(job, made)
    await world.later(KEEP_S - 60)
    assert await world.has_job(job.id)
    await world.later(120)
    assert not await world.has_job(job.id)
    assert await world.has_bytes(given.id)  # for a submit that has just looked it up
    await world.later(MARGIN_S + 60)
    for blob in (given, made):
        assert not await world.has_bytes(blob.id)
        assert not await world.is_on_record(blob.id)


async def test_a_job_that_has_not_ended_is_never_deleted(world: World) -> None:
    given = await world.blob()
    job = await world.job(given, ended=False)
    await world.later(10 * KEEP_S)
    await world.later(10 * KEEP_S)
    assert await world.has_job(job.id)
    assert await world.has_bytes(given.id)


async def test_a_file_that_a_younger_job_has_stays(world: World) -> None:
    shared = await world.blob()
    old = await world.job(shared)
    await world.later(KEEP_S / 2)
    young = await world.job(shared)
    await world.later(KEEP_S / 2 + 60)
    await world.later(2 * MARGIN_S)
    assert not await world.has_job(old.id)
    assert await world.has_job(young.id)
    assert await world.has_bytes(shared.id)


async def test_without_a_time_jobs_are_kept_for_ever(world: World) -> None:
    keeping = World(world.ledger, world.blobs, keep_s=None)
    given = await keeping.blob()
    job = await keeping.job(given)
    await keeping.later(1000 * KEEP_S)
    assert await keeping.has_job(job.id)
    assert await keeping.has_bytes(given.id)


async def test_the_past_of_the_fleet_goes_after_a_week_also_where_jobs_are_kept_for_ever(world: World) -> None:
    keeping, history = World(world.ledger, world.blobs, keep_s=None), world.ledger.history
    now_s = keeping.clock.now_s()
    await history.put_samples([FleetSample(model=ModelName("m"), at_s=now_s + 86_400.0 * day) for day in range(3)])
    await keeping.later(7 * 86_400 + 3600)
    assert len(await history.samples(ModelName("m"), since_s=0.0, limit=9)) == 2
    await keeping.later(3 * 86_400)
    assert not await history.samples(ModelName("m"), since_s=0.0, limit=9)


async def test_an_upload_that_no_job_used_goes_after_its_time(world: World) -> None:
    unused, used = await world.blob(), await world.blob()
    await world.job(used, ended=False)
    await world.later(ORPHANS_S)
    assert await world.has_bytes(unused.id)
    await world.later(MARGIN_S + 1)
    assert not await world.has_bytes(unused.id)
    assert not await world.is_on_record(unused.id)
    assert await world.has_bytes(used.id)


async def test_an_upload_that_was_never_completed_goes_with_its_bytes(world: World) -> None:
    blob = await world.blob(on_record=False)
    await world.announce(blob.id)
    await world.later(600)
    assert await world.has_bytes(blob.id)
    await world.later(MARGIN_S + 1)
    assert not await world.has_bytes(blob.id)
    assert await world.ledger.get_upload(blob.id) is None


async def test_more_than_one_batch_is_done_in_one_round(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "BATCH", 3)
    jobs = [await world.job(await world.blob()) for _ in range(10)]
    await world.later(KEEP_S + 60)
    assert not any([await world.has_job(job.id) for job in jobs])
    await world.later(MARGIN_S + 60)
    assert not any([await world.is_on_record(job.input_files[0].id) for job in jobs])


async def test_a_crash_between_bytes_and_row_is_made_good_by_the_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = await world.blob()

    async def down(blobs: object) -> None:
        raise Unavailable("the ledger is gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "drop_blobs", down)
        with pytest.raises(Unavailable):
            await world.later(ORPHANS_S + MARGIN_S + 1)
    assert not await world.has_bytes(unused.id)
    assert await world.is_on_record(unused.id)
    await world.later(60)
    assert not await world.is_on_record(unused.id)


async def test_a_store_that_is_down_keeps_the_row_until_the_bytes_are_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = await world.blob()

    async def down(blob: object) -> None:
        raise Unavailable("the store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.blobs, "delete", down)
        with pytest.raises(Unavailable):
            await world.later(ORPHANS_S + MARGIN_S + 1)
    assert await world.is_on_record(unused.id)
    await world.later(60)
    assert not await world.is_on_record(unused.id)
    assert not await world.has_bytes(unused.id)


async def test_a_clock_that_is_set_to_another_year_deletes_nothing_for_an_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran_s = 0.0
    monkeypatch.setattr(world.clock, "monotonic_s", lambda: ran_s)
    job = await world.job(await world.blob())
    await world.retention.sweep()
    world.clock.step(10 * KEEP_S)
    await world.retention.sweep()
    ran_s += MARGIN_S / 2
    world.clock.step(MARGIN_S / 2)
    await world.retention.sweep()
    assert await world.has_job(job.id)
    ran_s += MARGIN_S
    world.clock.step(MARGIN_S)
    await world.retention.sweep()
    assert not await world.has_job(job.id)


async def test_what_a_crash_left_half_written_goes_after_a_day(world: World, tmp_path: Path) -> None:
    left = tmp_path / "blobs" / "incoming" / "blob_x.1.0"
    left.write_bytes(b"half")
    await world.later(LEFTOVER_S / 2)
    assert left.exists()
    await world.later(LEFTOVER_S)
    assert not left.exists()


async def test_a_batch_goes_with_the_last_of_its_jobs(world: World) -> None:
    batch = batch_id(new_job_id())
    now_s = world.clock.now_s()
    await world.ledger.batches.begin(
        Batch(id=batch, tenant=DEFAULT_TENANT, created_at_s=now_s, total=1, fingerprint="a", touched_at_s=now_s)
    )
    await world.job(id=job_in_batch(batch, 0))
    await world.later(KEEP_S - 60)
    assert await world.ledger.batches.get(batch) is not None
    await world.later(120)
    assert await world.ledger.batches.get(batch) is None


async def test_a_batch_that_never_had_a_job_goes_too(world: World) -> None:
    batch = batch_id(new_job_id())
    now_s = world.clock.now_s()
    await world.ledger.batches.begin(
        Batch(id=batch, tenant=DEFAULT_TENANT, created_at_s=now_s, total=1, fingerprint="a", touched_at_s=now_s)
    )
    await world.later(KEEP_S + 60)
    assert await world.ledger.batches.get(batch) is None


async def test_what_tenants_used_outlives_their_jobs_and_goes_after_its_own_time(world: World) -> None:
    job = await world.job()
    day = day_of(world.clock.now_s())
    await world.later(KEEP_S + 60)
    assert not await world.has_job(job.id)
    [used] = await world.ledger.usage.used(None, since_day=day, until_day=day)
    assert used.completed == 1
    await world.later(USAGE_S)
    assert await world.ledger.usage.used(None, since_day=0, until_day=day) == []


async def test_no_table_of_the_ledger_grows_for_ever(world: World) -> None:
    """Each table has a row or more, then years go by. A new table has to say here how it stays small."""
    ledger, now_s = world.ledger, world.clock.now_s()
    batch = batch_id(new_job_id())
    begun = Batch(id=batch, tenant=DEFAULT_TENANT, created_at_s=now_s, total=2, fingerprint="a", touched_at_s=now_s)
    await ledger.batches.begin(begun)
    await ledger.batches.note(batch, 2, now_s, lines=[BatchLine(place=1, problem={"status": 422})])
    job = await world.job(await world.blob(), ended=False, id=job_in_batch(batch, 0))
    crash = JobError(code="crashed", message="crashed", retryable=True)
    failed = Outcome(
        seq="0-1", id=job.id, model=job.model, status=JobStatus.QUEUED, attempt=1, finished_at_s=now_s, error=crash
    )
    await ledger.record([failed])
    await world.end(job)
    await world.blob()
    await world.announce(new_blob_id())
    await ledger.history.put_samples([FleetSample(model=ModelName("m"), at_s=now_s)])
    decision = Decision(model=ModelName("m"), replicas=1, reason="QUEUE", message="one job")
    await ledger.history.put_scaled([Scaled(at_s=now_s, before=0, decision=decision)])
    full = await _rows(ledger)
    assert set(full) == set(metadata.tables) - set(ELSEWHERE), "say which sweep keeps a new table small"
    assert all(full.values()), full
    for _ in range(3):
        await world.later(USAGE_S)
    assert not any((await _rows(ledger)).values())


async def _rows(ledger: SqlLedger) -> dict[str, int]:
    def counted(connection: Connection) -> dict[str, int]:
        swept = [table for name, table in metadata.tables.items() if name not in ELSEWHERE]
        return {one.name: connection.execute(select(func.count()).select_from(one)).scalar_one() for one in swept}

    return await ledger.read(counted)

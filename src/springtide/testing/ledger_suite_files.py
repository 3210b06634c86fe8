"""Ledger suite: files of jobs and uploads, and what is forgotten with a job."""

from __future__ import annotations

import asyncio

import pytest

from springtide.domain.errors import Conflict
from springtide.domain.job import JobStatus
from springtide.ledger.protocol import Ledger, StoredBlob
from springtide.testing.ledger_cases import (
    ACME,
    GLOBEX,
    NOW_S,
    Reopen,
    blob_ref,
    job,
    loose,
    outcome,
    upload,
)


class BlobContract:
    """Blobs on record."""

    async def test_blobs_survive_and_unknown_ones_are_none(self, ledger: Ledger, reopen: Reopen) -> None:
        first = StoredBlob(ref=blob_ref(1), tenant=ACME, created_at_s=NOW_S)
        second = StoredBlob(ref=blob_ref(2, name=None), tenant=GLOBEX, created_at_s=NOW_S + 1)
        await ledger.put_blobs([first, second])
        ledger = await reopen()
        assert await ledger.get_blobs([second.ref.id, blob_ref(3).id, first.ref.id]) == [second, None, first]
        assert await ledger.get_blobs([]) == []

    async def test_a_job_notes_its_files_in_its_own_commit_under_its_tenant(self, ledger: Ledger) -> None:
        asked = job(1, tenant=GLOBEX, input_files=(blob_ref(1), blob_ref(2)))
        await ledger.insert([asked])
        await ledger.record([outcome(asked, JobStatus.COMPLETED)])
        stored = await ledger.get_blobs([blob_ref(1).id, blob_ref(2).id, blob_ref(99).id])
        assert stored == [
            StoredBlob(ref=blob_ref(1), tenant=GLOBEX, created_at_s=asked.created_at_s),
            StoredBlob(ref=blob_ref(2), tenant=GLOBEX, created_at_s=asked.created_at_s),
            StoredBlob(ref=blob_ref(99), tenant=GLOBEX, created_at_s=NOW_S + 101),
        ]

    async def test_files_of_an_outcome_that_came_too_late_are_not_noted(self, ledger: Ledger) -> None:
        asked = job(1, input_files=())
        await ledger.insert([asked])
        await ledger.record([outcome(asked, JobStatus.CANCELLED)])
        await ledger.record([outcome(asked, JobStatus.COMPLETED, attempt=2)])
        assert await ledger.get_blobs([blob_ref(99).id]) == [None]

    async def test_a_blob_is_loose_until_a_job_has_it(self, ledger: Ledger) -> None:
        await ledger.put_blobs([loose(1, NOW_S), loose(2, NOW_S + 1), loose(3, NOW_S + 2)])
        assert await ledger.loose_blobs(before_s=NOW_S + 1.5, limit=9) == [blob_ref(1).id, blob_ref(2).id]
        assert await ledger.loose_blobs(before_s=NOW_S + 9, limit=1) == [blob_ref(1).id]
        await ledger.insert([job(1, input_files=(blob_ref(1),)), job(2, input_files=(blob_ref(1), blob_ref(3)))])
        assert await ledger.loose_blobs(before_s=NOW_S + 9, limit=9) == [blob_ref(2).id]
        await ledger.drop_blobs([blob_ref(1).id, blob_ref(2).id])  # the first has jobs: it stays
        assert [blob and blob.ref for blob in await ledger.get_blobs([blob_ref(1).id, blob_ref(2).id])] == [
            blob_ref(1),
            None,
        ]

    async def test_a_job_that_was_there_already_takes_no_files(self, ledger: Ledger) -> None:
        await ledger.insert([job(1, idempotency_key="once", input_files=())])
        await ledger.insert([job(2, idempotency_key="once", input_files=(blob_ref(2),))])
        assert await ledger.get_blobs([blob_ref(2).id]) == [None]

    async def test_ended_jobs_are_forgotten_with_their_attempts_and_living_ones_are_not(self, ledger: Ledger) -> None:
        jobs = [job(number) for number in range(1, 6)]
        await ledger.insert(jobs)
        await ledger.record([outcome(each, JobStatus.FAILED) for each in jobs[:4]])
        await ledger.record([outcome(jobs[4], JobStatus.QUEUED)])
        await ledger.record([outcome(job(7), JobStatus.FAILED)])  # never inserted
        ended = await ledger.ended(before_s=NOW_S + 101.5, after=None, limit=3)
        assert ended == [each.id for each in jobs[:3]]
        assert await ledger.ended(before_s=NOW_S + 101.5, after=ended[-1], limit=3) == [jobs[3].id]
        assert await ledger.ended(before_s=NOW_S + 101, after=None, limit=3) == []
        await ledger.forget([each.id for each in jobs], loose_since_s=0.0)
        left = await ledger.get([each.id for each in jobs])
        assert [each and each.id for each in left] == [None, None, None, None, jobs[4].id]
        assert await ledger.attempts(jobs[0].id) == []
        assert len(await ledger.attempts(jobs[4].id)) == 1

    async def test_a_forgotten_jobs_files_are_loose_unless_another_job_has_them(self, ledger: Ledger) -> None:
        first, second = job(1, input_files=(blob_ref(1), blob_ref(2))), job(2, input_files=(blob_ref(2),))
        await ledger.insert([first, second])
        await ledger.record([outcome(first, JobStatus.COMPLETED), outcome(second, JobStatus.FAILED)])
        await ledger.forget([first.id], loose_since_s=NOW_S - 7)
        assert set(await ledger.loose_blobs(before_s=NOW_S, limit=9)) == {blob_ref(1).id, blob_ref(99).id}
        await ledger.forget([second.id, first.id], loose_since_s=NOW_S - 5)
        assert await ledger.loose_blobs(before_s=NOW_S - 6, limit=9) != [blob_ref(2).id]
        assert blob_ref(2).id in await ledger.loose_blobs(before_s=NOW_S, limit=9)

    async def test_many_files_at_once_are_noted(self, ledger: Ledger) -> None:
        await ledger.insert(
            [job(n, input_files=tuple(blob_ref(10 * n + k) for k in range(10)), inputs={}) for n in range(1, 121)]
        )
        stored = await ledger.get_blobs([blob_ref(n).id for n in range(10, 1210)])
        assert all(stored)

    async def test_an_upload_is_kept_until_it_is_dropped(self, ledger: Ledger, reopen: Reopen) -> None:
        await ledger.put_upload(upload(1))
        await ledger.put_upload(upload(2, name=None, media_type=None, sha256=None))
        ledger = await reopen()
        assert await ledger.get_upload(upload(1).id) == upload(1)
        assert await ledger.get_upload(upload(3).id) is None
        assert await ledger.stale_uploads(expired_before_s=NOW_S + 60.5, limit=9) == [upload(1).id]
        assert await ledger.stale_uploads(expired_before_s=NOW_S + 99, limit=9) == [upload(1).id, upload(2).id]
        await ledger.drop_uploads([upload(1).id, upload(3).id])
        assert await ledger.get_upload(upload(1).id) is None

    async def test_an_upload_becomes_a_loose_blob_in_one_step(self, ledger: Ledger) -> None:
        await ledger.put_upload(upload(1))
        await ledger.finish_upload(loose(1, NOW_S))
        assert await ledger.get_upload(upload(1).id) is None
        assert await ledger.get_blobs([blob_ref(1).id]) == [loose(1, NOW_S)]
        await ledger.put_upload(upload(1))
        with pytest.raises(Conflict):
            await ledger.finish_upload(loose(1, NOW_S + 1))
        assert await ledger.get_upload(upload(1).id) == upload(1)

    async def test_of_several_that_claim_an_upload_one_gets_it(self, ledger: Ledger) -> None:
        one = upload(1).id
        await ledger.put_upload(upload(1))
        claims = await asyncio.gather(*(ledger.claim_upload(one, NOW_S, stale_before_s=0.0) for _ in range(5)))
        assert sum(claims) == 1
        assert not await ledger.claim_upload(one, NOW_S + 50, stale_before_s=NOW_S)
        assert await ledger.claim_upload(one, NOW_S + 50, stale_before_s=NOW_S + 1)  # its claimant crashed
        await ledger.release_upload(one)
        assert await ledger.claim_upload(one, NOW_S + 50, stale_before_s=0.0)
        assert not await ledger.claim_upload(upload(2).id, NOW_S, stale_before_s=0.0)

    async def test_a_blob_never_changes_once_on_record(self, ledger: Ledger) -> None:
        first = StoredBlob(ref=blob_ref(1), tenant=ACME, created_at_s=NOW_S)
        await ledger.put_blobs([first])
        await ledger.put_blobs([StoredBlob(ref=blob_ref(1, bytes=3), tenant=GLOBEX, created_at_s=NOW_S)])
        assert await ledger.get_blobs([first.ref.id]) == [first]

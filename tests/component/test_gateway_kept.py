"""What a client is told of things whose time is over."""

from __future__ import annotations

import io
from pathlib import Path

from gateway_world import gateway_world

from springtide.domain.ids import JobId, batch_id
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.testing.media import picture

FUTURE_JOB = "job_" + "f" * 32


async def test_an_upload_past_its_time_can_be_neither_fetched_nor_named(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keep_orphans_s=0.0) as world:
        body = (await world.http.post("/v1/blobs", content=b"some bytes")).json()
        fetched = await world.http.get(body["url"])
        assert (fetched.status_code, fetched.json()["code"]) == (410, "blob_deleted")
        named = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": body["id"]}})
        assert named.status_code == 422 and "no blob" in named.json()["detail"]


async def test_an_upload_that_a_job_has_stays_whatever_its_age(tmp_path: Path) -> None:
    png = io.BytesIO()
    picture().save(png, "PNG")
    async with gateway_world(tmp_path, keep_orphans_s=3600.0) as world:
        blob = (await world.http.post("/v1/blobs", content=png.getvalue())).json()
        accepted = await world.http.post("/v1/jobs", json={"model": "sketch", "inputs": {"picture": blob["id"]}})
        assert accepted.status_code == 202, accepted.text
        [stored] = await world.services.ledger.get_blobs([blob["id"]])
        assert stored is not None and stored.loose_since_s is None
        assert (await world.http.get(blob["url"])).is_success


async def test_a_batch_older_than_jobs_are_kept_is_gone_and_others_are_unknown(tmp_path: Path) -> None:
    old, to_come = batch_id(new_job_id()), batch_id(JobId(FUTURE_JOB))
    async with gateway_world(tmp_path, keep_s=0.0) as world:
        for path in (f"/v1/jobs/batches/{old}", f"/v1/jobs/batches/{old}/items"):
            gone = await world.http.get(path)
            assert (gone.status_code, gone.json()["code"]) == (410, "batch_deleted")
        by_openai = await world.http.get(f"/v1/batches/{old}")
        assert (by_openai.status_code, by_openai.json()["error"]["code"]) == (410, "batch_deleted")
        assert (await world.http.get(f"/v1/jobs/batches/{to_come}")).status_code == 404


async def test_a_job_older_than_jobs_are_kept_is_gone_and_others_are_unknown(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keep_s=0.0) as world:
        for path in ("", "/result", "/files/x", "/attempts", "/events"):
            gone = await world.http.get(f"/v1/jobs/{new_job_id()}{path}")
            assert (gone.status_code, gone.json()["code"]) == (410, "job_deleted")
            assert (await world.http.get(f"/v1/jobs/{FUTURE_JOB}{path}")).status_code == 404
    async with gateway_world(tmp_path) as world:
        assert (await world.http.get(f"/v1/jobs/{new_job_id()}")).status_code == 404
        assert (await world.http.get(f"/v1/blobs/{new_blob_id()}")).status_code == 404

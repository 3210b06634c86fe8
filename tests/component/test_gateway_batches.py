"""Many jobs in one request: each accepted or refused on its own, followed, cancelled and retried as one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_world import World, gateway_world, soon

from springtide.domain.errors import Unavailable
from springtide.domain.ids import JOB_PREFIX, SHARED, BatchId, JobId, TenantId, batch_of
from springtide.domain.job import JobError, JobStatus
from springtide.domain.lease import LiveJob
from springtide.domain.tenant import Tenant
from springtide.gateway import batch_intake
from springtide.testing.media import picture

NO_OP = {"model": "synthetic"}
NDJSON = {"content-type": "application/x-ndjson"}


def place_in_batch(job: str) -> int:
    """An id says it: four digits after those of the batch."""
    return int(job[len(JOB_PREFIX) + SHARED :][:4], 16)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path, max_batch_jobs=600, tenant_header="x-tenant") as made:
        yield made


async def post(world: World, jobs: Any, **headers: str) -> httpx.Response:
    return await world.http.post("/v1/jobs/batches", json={"jobs": jobs}, headers=headers)


async def batch(world: World, *jobs: Any, **headers: str) -> dict[str, Any]:
    answer = await post(world, list(jobs), **headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["status_url"]
    return answer.json()


async def items(world: World, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await world.http.get(body["items_url"], headers={"accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def again(world: World, body: dict[str, Any]) -> dict[str, Any]:
    return (await world.http.get(body["status_url"])).json()


async def listed(world: World) -> int:
    return len((await world.http.get("/v1/jobs?limit=100")).json()["data"])


def lines(*jobs: Any) -> bytes:
    return b"".join(json.dumps(job).encode() + b"\n" for job in jobs)


async def test_each_line_becomes_a_job_in_order_with_its_place_in_its_id(world: World) -> None:
    jobs = [{**NO_OP, "inputs": {"seconds": n}, "priority": "batch"} for n in range(300)]
    content = b"\r\n\n" + lines(*jobs).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    answer = await world.http.post("/v1/jobs/batches", content=content, headers=NDJSON)
    body = answer.json()
    assert (answer.status_code, body["total"], body["counts"]["queued"], body["counts"]["refused"]) == (
        202,
        300,
        300,
        0,
    )
    assert (body["status"], body["progress"], body["refused"]) == ("in_progress", 0.0, [])
    found = await items(world, body)
    assert [item["place"] for item in found] == list(range(300))
    for n in (0, 7, 299):
        assert (batch_of(found[n]["job"]["id"]), place_in_batch(found[n]["job"]["id"])) == (body["id"], n)
        seen = (await world.http.get(found[n]["job"]["status_url"])).json()
        assert (seen["inputs"]["seconds"], seen["priority"], seen["batch"]) == (n, "batch", body["id"])
    assert (await world.lease()).id == found[0]["job"]["id"]


async def test_a_wrong_item_says_what_is_wrong_and_takes_no_other_along(world: World, tmp_path: Path) -> None:
    picture((32, 32)).save(tmp_path / "p.png")
    photo = (await world.http.post("/v1/blobs", content=(tmp_path / "p.png").read_bytes())).json()["id"]
    text = (await world.http.post("/v1/blobs", content=b"just words")).json()["id"]
    sent = [
        NO_OP,
        {"model": "nope"},
        {"model": "synthetic", "inputs": {"colour": "red", "seconds": -1}, "priorty": "batch"},
        {"model": "sketch", "inputs": {"picture": photo}},
        {"model": "sketch", "inputs": {"picture": text}},
        {"model": "sketch", "inputs": {"picture": "blob_" + "0" * 32}},
        "synthetic",
        {"inputs": {}},
        {**NO_OP, "idempotency_key": ""},
        {**NO_OP, "idempotency_key": 7},
        {**NO_OP, "inputs": {"memory_mb": 10**30}},
        NO_OP,
    ]
    by_line = lines(*sent) + b"{\n" + b'{"model": NaN}\n' + b"[" * 5000 + b"\n"
    for content, headers in ((json.dumps({"jobs": sent}).encode(), {}), (by_line, NDJSON)):
        answer = await world.http.post("/v1/jobs/batches", content=content, headers=headers)
        body = answer.json()
        found = await items(world, body)
        good = [item["place"] for item in found if item["status"] == "queued"]
        problems = {item["place"]: item["problem"] for item in found if item["status"] == "refused"}
        assert good == [0, 3, 11] and body["counts"]["refused"] == len(problems) == len(found) - 3
        statuses = [problems[place]["status"] for place in sorted(problems)]
        assert statuses == [404, 422, 422, 422, 422, 422, 400, 400, 422, *[400] * (len(found) - 12)]
        assert {item["loc"] for item in problems[2]["errors"]} == {"colour", "seconds", "priorty"}
        assert problems[2]["instance"] == "/v1/jobs/batches#/jobs/2" and problems[2]["code"] == "invalid_input"
        assert (problems[1]["code"], problems[4]["code"]) == ("unknown_model", "wrong_media_type")
        assert problems[8]["code"] == "bad_idempotency_key"
        assert [one["place"] for one in body["refused"]] == sorted(problems)[:10]
        assert [problems[place]["code"] for place in range(12, len(found))] == ["malformed_json"] * (len(found) - 12)
    assert await listed(world) == 6


async def test_an_items_own_key_makes_one_job_within_a_batch_and_across(world: World) -> None:
    mine = {**NO_OP, "idempotency_key": "a"}
    other = {"model": "synthetic", "inputs": {"seconds": 9}, "idempotency_key": "a"}
    body = await batch(world, mine, mine, other)
    found = await items(world, body)
    assert [item["status"] for item in found] == ["queued", "queued", "refused"]
    assert found[0]["job"]["id"] == found[1]["job"]["id"] and found[0]["idempotency_key"] == "a"
    assert "replayed" not in found[0] and found[1]["replayed"] is True
    assert found[2]["problem"]["code"] == "idempotency_key_reused"
    single = await world.http.post("/v1/jobs", json=NO_OP, headers={"Idempotency-Key": "a"})
    assert single.json()["id"] == found[0]["job"]["id"] and await listed(world) == 1


async def test_a_batch_sent_again_with_its_key_is_the_same_batch(world: World) -> None:
    jobs = [NO_OP, {"model": "nope"}, {**NO_OP, "idempotency_key": "own"}, NO_OP]
    key = {"Idempotency-Key": '"nightly"'}
    first, second = await batch(world, *jobs, **key), await post(world, jobs, **key)
    assert second.json() == first and second.headers["idempotency-replayed"] == "true"
    other = await post(world, [*jobs, NO_OP], **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await listed(world) == 3
    elsewhere = await batch(world, *jobs, **key, **{"x-tenant": "acme"})
    assert elsewhere["id"] != first["id"]


async def test_a_batch_that_a_crash_cut_off_goes_on_where_it_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [{**NO_OP, "inputs": {"seconds": n}} if n % 5 else {"model": "nope"} for n in range(400)]
    key = {"Idempotency-Key": "k"}
    whole, notes = world.services.batches.note, 0

    async def note(*args: Any, **kwargs: Any) -> Any:
        nonlocal notes
        notes += 1
        if notes == 2:
            raise Unavailable("the database is down")
        return await whole(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(world.services.batches, "note", note)
        assert (await post(world, jobs, **key)).status_code == 503
    busy = await post(world, jobs, **key)
    assert (busy.status_code, busy.json()["code"]) == (409, "batch_busy")
    cut = (await world.http.get("/v1/jobs/batches")).json()["data"][0]
    assert (cut["status"], cut["total"]) == ("receiving", 400)
    monkeypatch.setattr(batch_intake, "BUSY_S", -1.0)
    cut = await again(world, cut)
    assert cut["status"] == "interrupted" and len(await items(world, cut)) == batch_intake.CHUNK
    body = await batch(world, *jobs, **key)
    assert (body["id"], body["status"], body["counts"]["queued"], body["counts"]["refused"]) == (
        cut["id"],
        "in_progress",
        320,
        80,
    )
    found = await items(world, body)
    assert [item["place"] for item in found if item["status"] == "refused"] == list(range(0, 400, 5))
    jobs_of = await world.services.batches.jobs(BatchId(body["id"]), first=0, end=400)
    assert [job.inputs["seconds"] for job in jobs_of] == [n for n in range(400) if n % 5]
    assert len({(await world.lease()).id for _ in range(320)}) == 320


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"", {}, 400, "missing_body"),
        (b"{", {}, 400, "malformed_json"),
        (b"[]", {}, 400, "malformed_json"),
        (b'{"jobs": 7}', {}, 400, "malformed_json"),
        (b'{"jobs": [], "wait": 1}', {}, 400, "malformed_json"),
        (b'{"jobs": []}', {}, 422, "invalid_input"),
        (b'{"jobs": [' + b"{}," * 600 + b"{}]}", {}, 413, "too_many_jobs"),
        (b'{"jobs": ["' + b"x" * (8 << 20) + b'"]}', {}, 413, "too_large"),
        (b"\n\n", NDJSON, 422, "invalid_input"),
        (b"{}\n" * 601, NDJSON, 413, "too_many_jobs"),
        (b"{" + b" " * (1 << 20), NDJSON, 413, "too_large"),
        (b"x" * (65 << 20), NDJSON, 413, "too_large"),
        (b"a,b\n", {"content-type": "text/csv"}, 415, "unsupported_media_type"),
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "no list",
        "unknown key",
        "no jobs",
        "too many",
        "too large",
        "empty lines",
        "too many lines",
        "long line",
        "too much",
        "CSV",
    ],
)
async def test_a_batch_that_is_none_is_refused_as_a_whole(
    world: World, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await world.http.post("/v1/jobs/batches", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    form = await world.http.post("/v1/jobs/batches", files={"jobs": b"[]"})
    assert form.json()["code"] == "unsupported_media_type"
    assert (await world.http.get("/v1/jobs/batches")).json()["data"] == [] and await listed(world) == 0


async def test_a_body_that_is_broken_off_leaves_nothing(world: World) -> None:
    messages = [{"type": "http.request", "body": lines(NO_OP) * 300, "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/v1/jobs/batches"
    scope: Any = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "root_path": ""}
    headers = [(name.encode(), value.encode()) for name, value in NDJSON.items()]
    scope |= {"query_string": b"", "headers": headers, "scheme": "http", "server": None, "client": None, "state": {}}
    await world.app(scope, receive, send)
    assert sent[0]["status"] == 400 and await listed(world) == 0
    assert (await world.http.get(path)).json()["data"] == []


async def test_others_get_their_turn_while_many_are_taken_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, taken = 0, await soon(batch(world, *[NO_OP] * 600))

    async def others() -> None:
        nonlocal turns
        while not taken.done():
            await asyncio.sleep(0)
            turns += 1

    await others()
    assert turns > 600 / batch_intake.SLICE
    assert (await taken)["counts"]["queued"] == 600


async def test_while_the_broker_is_down_a_batch_is_accepted_and_without_a_ledger_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any, **__: Any) -> Any:
        raise Unavailable("it is down")

    with monkeypatch.context() as patch:
        patch.setattr(world.services.broker, "enqueue", down)
        assert (await batch(world, NO_OP, NO_OP))["counts"]["queued"] == 2
    monkeypatch.setattr(world.services.ledger._database, "write", down)  # type: ignore[attr-defined]
    answer = await post(world, [NO_OP, {"model": "nope"}])
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable") and "retry-after" in answer.headers


async def test_a_server_that_stops_takes_no_batch(world: World) -> None:
    world.services.stopping.set()
    answer = await post(world, [NO_OP])
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down") and "retry-after" in answer.headers


async def test_a_bug_in_one_models_code_is_that_items_500(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> float:
        raise RuntimeError("secret")

    monkeypatch.setattr("springtide.gateway.submission._bind", broken)
    body = await batch(world, {"model": "synthetic"}, {"model": "nope"})
    assert [one["problem"]["status"] for one in body["refused"]] == [500, 404]
    assert "secret" not in body["refused"][0]["problem"]["detail"] and "secret" in caplog.text


async def test_one_figure_of_progress_counts_what_has_ended_and_what_runs(world: World) -> None:
    jobs = [{**NO_OP, "inputs": {"seconds": 1.0}} for _ in range(4)]
    body = await batch(world, *jobs, {"model": "nope"})
    assert body["eta_s"] is None  # nobody runs them, and nobody may come
    await world.ready()
    leases = [await world.lease() for _ in range(3)]
    await world.complete(leases[0], {"seconds": 1.0, "steps": 1})
    await world.fail(leases[1], JobError(code="crashed", message="It fell over."))
    await world.progress(leases[2], 0.5)
    now_s = world.services.clock.now_s()
    running = LiveJob(id=leases[2].id, status=JobStatus.IN_PROGRESS, attempt=1, started_at_s=now_s)
    await world.services.ledger.record_running([running])
    seen = await again(world, body)
    counts = {name: count for name, count in seen["counts"].items() if count}
    assert counts == {"queued": 1, "in_progress": 1, "completed": 1, "failed": 1, "refused": 1}
    assert 0.6 < seen["progress"] < 0.65 and seen["eta_s"] > 0 and seen["status"] == "in_progress"
    await world.complete(leases[2], {})
    await world.complete(await world.lease(), {})
    seen = await again(world, body)
    assert (seen["status"], seen["progress"], seen["eta_s"]) == ("completed", 1.0, None)
    found = await items(world, body)
    assert [item["status"] for item in found] == ["completed", "failed", "completed", "completed", "refused"]
    assert found[0]["job"]["outputs"] == {"seconds": 1.0, "steps": 1}
    assert found[1]["job"]["error"]["code"] == "crashed"


async def test_items_come_page_by_page_and_by_state(world: World) -> None:
    body = await batch(world, *[NO_OP if n % 3 else {"model": "nope"} for n in range(300)])
    places: list[int] = []
    after = -1
    while True:
        page = (await world.http.get(f"{body['items_url']}?limit=70&status=refused&after={after}")).json()
        places += [item["place"] for item in page["data"]]
        if not page["has_more"]:
            break
        after = page["next_after"]
    assert places == list(range(0, 300, 3)) and page["next_after"] is None
    assert len((await world.http.get(body["items_url"])).json()["data"]) == 100
    streamed = await world.http.get(f"{body['items_url']}?limit=3", headers={"accept": "application/x-ndjson"})
    assert len(streamed.text.splitlines()) == 3
    for wrong in ("status=lost", "after=-2", "limit=0", "limit=1001", "stat=1"):
        assert (await world.http.get(f"{body['items_url']}?{wrong}")).status_code == 400


async def test_jobs_are_listed_by_their_batch(world: World) -> None:
    body = await batch(world, *[NO_OP] * 3)
    await world.submit()
    listed = (await world.http.get(f"/v1/jobs?batch={body['id']}")).json()["data"]
    assert [place_in_batch(job["id"]) for job in listed] == [2, 1, 0]
    wrong = await world.http.get("/v1/jobs?batch=job_1")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "bad_cursor")


async def test_batches_are_listed_newest_first_page_by_page(world: World) -> None:
    made = [(await batch(world, NO_OP))["id"] for _ in range(3)]
    first = (await world.http.get("/v1/jobs/batches?limit=2")).json()
    assert [one["id"] for one in first["data"]] == made[:0:-1] and first["has_more"]
    rest = (await world.http.get(f"/v1/jobs/batches?after={first['next_after']}")).json()
    assert [one["id"] for one in rest["data"]] == made[:1] and not rest["has_more"]
    assert (await world.http.get("/v1/jobs/batches?after=x")).json()["code"] == "bad_cursor"


async def test_a_batch_of_another_tenant_is_not_there(world: World) -> None:
    body = await batch(world, NO_OP)
    theirs = {"x-tenant": "acme"}
    for method, path in (("GET", ""), ("GET", "/items"), ("POST", "/cancel"), ("POST", "/retry")):
        for name in (body["id"], "batch_x", "batch_" + "0" * 32):
            answer = await world.http.request(method, f"/v1/jobs/batches/{name}{path}", headers=theirs)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_batch")
    assert (await world.http.get("/v1/jobs/batches", headers=theirs)).json()["data"] == []


async def test_a_cancel_stops_what_waits_at_once_and_what_runs_when_its_worker_says_so(world: World) -> None:
    jobs = [*[NO_OP] * 300, {"model": "synthetic", "then": [NO_OP]}]
    body = await batch(world, *jobs)
    done, lease = await world.lease(), await world.lease()
    await world.complete(done, {})
    answer = await world.http.post(body["cancel_url"])
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    await world.record()
    await world.fail(lease, JobError(code="cancelled", message="Stopped as asked."), cancelled=True)
    for _ in range(9):
        await world.conductor.conduct_all()
        seen = await again(world, body)
        if seen["status"] == "cancelled":
            break
        await world.recorder.record_once(wait_s=0.05)
    assert (seen["counts"]["completed"], seen["counts"]["cancelled"]) == (1, 300)
    answer = await world.http.post(body["cancel_url"])
    assert (answer.status_code, answer.json()) == (200, seen)


async def test_a_batch_that_has_ended_cannot_be_cancelled(world: World) -> None:
    body = await batch(world, NO_OP)
    await world.complete(await world.lease(), {})
    answer = await world.http.post(body["cancel_url"])
    assert (answer.status_code, answer.json()["code"]) == (409, "already_ended")


async def test_the_unsuccessful_jobs_of_a_batch_are_done_again_as_one(world: World) -> None:
    body = await batch(world, *[{**NO_OP, "inputs": {"seconds": n}} for n in range(4)], {"model": "nope"})
    early = await world.http.post(body["retry_url"])
    assert (early.status_code, early.json()["code"]) == (409, "not_finished")
    error = JobError(code="crashed", message="It fell over.")
    leases = [await world.lease() for _ in range(4)]
    for lease in leases[:3]:
        await world.fail(lease, error)
    await world.complete(leases[3], {})
    single = (await world.http.post(f"/v1/jobs/{leases[1].id}/retry")).json()
    answer = await world.http.post(body["retry_url"])
    retried = answer.json()
    assert (answer.status_code, retried["retry_of"], retried["total"]) == (202, body["id"], 3)
    found = await items(world, retried)
    assert [item.get("replayed", False) for item in found] == [False, True, False] and found[1]["job"]["id"] == single[
        "id"
    ]
    whole = [item["job"] for item in found]
    assert [job["retry_of"] for job in whole] == [lease.id for lease in leases[:3]]
    assert [job["inputs"]["seconds"] for job in whole] == [0, 1, 2]
    once_more = await world.http.post(body["retry_url"])
    assert once_more.json()["id"] == retried["id"] and once_more.headers["idempotency-replayed"] == "true"
    good = await batch(world, NO_OP)
    for _ in range(4):
        await world.complete(await world.lease(), {})
    nothing = await world.http.post(good["retry_url"])
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_retry")


async def test_a_deleted_job_is_gone_from_its_batch_and_counted_so(world: World) -> None:
    body = await batch(world, NO_OP, NO_OP)
    for _ in range(2):
        await world.complete(await world.lease(), {})
    job = (await items(world, body))[0]["job"]["id"]
    await world.services.ledger.forget([JobId(job)], loose_since_s=0.0)
    seen = await again(world, body)
    assert (seen["counts"]["gone"], seen["counts"]["completed"], seen["status"]) == (1, 1, "completed")
    assert [item["status"] for item in await items(world, body)] == ["gone", "completed"]


async def test_a_tenants_limit_holds_for_its_batches(tmp_path: Path) -> None:
    tenants = [Tenant(id=TenantId("acme"), max_queued=5)]
    async with gateway_world(tmp_path, tenants=tenants, tenant_header="x-tenant") as world:
        body = await batch(world, *[NO_OP] * 9, **{"x-tenant": "acme"})
        assert (body["counts"]["queued"], body["counts"]["refused"]) == (5, 4)

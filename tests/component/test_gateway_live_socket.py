"""Many jobs over one WebSocket: snapshot, news, resume; slow clients lose steps and never an end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, gateway_world, served
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from springtide.broker.memory import MemoryBroker
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, TenantId
from springtide.domain.job import JobError
from springtide.domain.lease import LiveEvent, Progress
from springtide.gateway import live_all
from springtide.gateway.context import Gateway

Item = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
async def url(world: World) -> AsyncGenerator[str]:
    async with served(world) as (host, port):
        yield f"ws://{host}:{port}/v1/live"


class Client:
    """One WebSocket, read item by item."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.messages = 0
        self._items: list[Item] = []

    async def ask(self, kind: str, *jobs: Any, **more: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "jobs": jobs, **more}))

    async def next(self) -> Item:
        while not self._items:
            self._items = json.loads(await self.socket.recv())
            self.messages += 1
        return self._items.pop(0)

    async def until(self, kind: str) -> list[Item]:
        """All items up to the first of this kind."""
        found = [await self.next()]
        while found[-1]["kind"] != kind:
            found.append(await self.next())
        return found


@contextlib.asynccontextmanager
async def client(url: str, query: str = "") -> AsyncGenerator[Client]:
    async with connect(url + query, compression=None) as socket:
        yield Client(socket)


def gateway_of(world: World) -> Gateway:
    return world.app.state["gateway"]


def kinds(items: list[Item]) -> list[str]:
    return [item["kind"] for item in items]


async def test_a_client_hears_of_its_job_from_a_snapshot_to_the_end(world: World, url: str) -> None:
    job = await world.submit()
    async with client(url, f"?jobs={job['id']}") as live:
        snapshot = await live.next()
        assert (snapshot["kind"], snapshot["job"], snapshot["status"]) == ("snapshot", job["id"], "queued")
        lease = await world.lease()
        await world.progress(lease, 0.25, "work")
        await world.fail(lease, JobError(code="crashed", message="It fell over.", details={"stderr": "secret"}))
        items = await live.until("failed")
    assert kinds(items) == ["started", "progress", "failed"]
    streamed = await world.http.get(f"/v1/jobs/{job['id']}/events")
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines()) for block in streamed.text.split("\n\n") if block
    ]
    same = [{"id": block["id"], **json.loads(block["data"])} for block in blocks if "data" in block]
    assert items == same[1:] and snapshot["id"] == same[0]["id"]


async def test_jobs_come_and_go_on_one_socket(world: World, url: str) -> None:
    first, second = await world.submit(), await world.submit()
    async with client(url) as live:
        await live.ask("subscribe", first["id"], {"job": second["id"]})
        assert {(await live.next())["job"] for _ in range(2)} == {first["id"], second["id"]}
        await live.ask("unsubscribe", first["id"])
        await live.ask("subscribe", "job_x")  # its answer says that the request before it was dealt with
        assert (await live.next())["code"] == "unknown_job"
        for _ in range(2):
            await world.lease()
        item = await live.next()
        assert (item["kind"], item["job"]) == ("started", second["id"])
        hub = gateway_of(world).hub
        assert set(hub._feeds) == {second["id"]}
    while hub.listeners:
        await asyncio.sleep(0)
    assert hub._feeds == {} and hub._closer is None


async def test_a_client_resumes_after_the_last_event_it_saw(world: World, url: str) -> None:
    job = await world.submit()
    lease = await world.lease()
    for done in range(5):
        await world.progress(lease, done / 10)
    story = await world.services.broker.read_events(gateway_ref(job), None)
    for seen in range(len(story)):
        async with client(url, f"?jobs={job['id']}:{story[seen].seq}") as live:
            items = await live.until("snapshot")
            assert [item["id"] for item in items[:-1]] == [event.seq for event in story[seen + 1 :]]
            assert items[-1]["id"] == story[-1].seq and items[-1]["progress"] == 0.4
    async with client(url) as live:
        await live.ask("subscribe", {"job": job["id"], "after": story[1].seq})
        assert len(await live.until("snapshot")) == len(story) - 1
        await world.complete(lease, {})
        assert kinds(await live.until("completed")) == ["completed"]


async def test_a_pipeline_is_followed_as_one_job_and_resumed_between_its_steps(world: World, url: str) -> None:
    await world.conductor.start()
    body = {"model": "synthetic", "then": [{"model": "synthetic", "name": "last"}]}
    job = (await world.http.post("/v1/jobs", json=body)).json()
    async with client(url, f"?jobs={job['id']}") as live:
        assert (await live.next())["status"] == "queued"
        await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
        items = [await live.next()]
        while items[-1].get("stage") != "last: queued":
            items.append(await live.next())
    async with client(url, f"?jobs={job['id']}:{items[-1]['id']}") as live:
        await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
        rest = await live.until("completed")
    assert {item["job"] for item in [*items, *rest]} == {job["id"]}
    told = [item for item in rest if item["kind"] != "snapshot"]
    assert told[-1]["kind"] == "completed" and all(item["kind"] == "progress" for item in told[:-1])
    await world.conductor.stop()


async def test_the_end_of_a_job_that_is_over_is_told_at_once(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await world.submit()
    await world.complete(await world.lease(), {"seconds": 0.0, "steps": 1})
    async with client(url, f"?jobs={job['id']}") as live:
        assert (await live.next())["status"] == "completed"
    monkeypatch.setattr(gateway_of(world).live, "_broker", MemoryBroker())  # its events are forgotten
    async with client(url, f"?jobs={job['id']}:1-1") as live:
        assert [item["kind"] for item in await live.until("snapshot")] == ["completed", "snapshot"]
    assert gateway_of(world).hub._feeds == {}


async def test_an_end_whose_announcement_was_lost_is_told_from_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(*_: Any, **__: Any) -> None: ...

    async with gateway_world(tmp_path, keep_alive_s=0.02) as world, served(world) as (host, port):
        monkeypatch.setattr(world.services.broker, "announce", unheard)
        job = await world.submit()
        async with client(f"ws://{host}:{port}/v1/live", f"?jobs={job['id']}") as live:
            await live.next()
            await world.complete(await world.lease(), {})
            assert kinds(await live.until("completed")) == ["started", "completed"]


async def test_a_broker_that_is_down_for_a_moment_costs_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("springtide.gateway.live.PAUSE_S", 0.01)
    async with gateway_world(tmp_path, keep_alive_s=0.02) as world, served(world) as (host, port):
        job = await world.submit()
        whole, down = world.services.broker.read_events, asyncio.Event()

        async def read(*args: Any, **kwargs: Any) -> Any:
            if not down.is_set():
                down.set()
                raise Unavailable("the broker is down")
            return await whole(*args, **kwargs)

        async with client(f"ws://{host}:{port}/v1/live", f"?jobs={job['id']}") as live:
            await live.next()
            monkeypatch.setattr(world.services.broker, "read_events", read)
            lease = await world.lease()
            await down.wait()
            await world.complete(lease, {})
            assert kinds(await live.until("completed")) == ["started", "completed"]


async def test_a_job_that_waits_is_told_why(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, explain_after_s=0.01) as world, served(world) as (host, port):
        job = await world.submit()
        async with client(f"ws://{host}:{port}/v1/live", f"?jobs={job['id']}") as live:
            waiting = (await live.until("waiting"))[-1]
            assert waiting["job"] == job["id"] and waiting["code"] and waiting["message"] and "id" not in waiting


async def test_many_clients_share_one_reader_and_one_encoding(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await world.submit()
    encoded: list[str] = []
    view = "springtide.gateway.live_listener.event_view"
    from springtide.gateway.views import event_view

    def counted(event: LiveEvent) -> Any:
        encoded.append(event.kind)
        return event_view(event)

    monkeypatch.setattr(view, counted)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(url, f"?jobs={job['id']}")) for _ in range(20)]
        for each in clients:
            await each.next()
        await world.complete(await world.lease(), {})
        for each in clients:
            assert kinds(await each.until("completed")) == ["started", "completed"]
    assert encoded == ["started", "completed"]


async def test_a_client_that_does_not_read_hears_the_newest_and_every_end(world: World, url: str) -> None:
    jobs = [await world.submit() for _ in range(30)]
    leases = [await world.lease() for _ in jobs]
    async with client(url) as live:
        await live.ask("subscribe", *(job["id"] for job in jobs))
        for _ in jobs:
            assert (await live.next())["kind"] == "snapshot"
        live.socket.transport.pause_reading()
        [listener] = gateway_of(world).hub._listeners
        broker, clock = world.services.broker, world.services.clock
        rounds, stage = 0, "x" * 5000
        while listener.wire.is_writable or rounds < 5:
            rounds += 1
            told = [Progress(id=lease.id, attempt=1, fraction=rounds / 1e6, stage=stage) for lease in leases]
            await broker.publish(leases[0].model, leases[0].worker, told, clock.now_s())
            await asyncio.sleep(0)
        for number in range(50):
            told = [Progress(id=lease.id, attempt=1, fraction=0.5 + number / 100) for lease in leases]
            await broker.publish(leases[0].model, leases[0].worker, told, clock.now_s())
        for lease in leases[:20]:
            await world.complete(lease, {})
        while sum(len(kept) for kept in listener._backlog.values()) < 30:
            await asyncio.sleep(0)
        assert all(len(kept) <= 2 for kept in listener._backlog.values())
        live.socket.transport.resume_reading()
        ended: set[str] = set()
        newest: dict[str, float] = {}
        while len(ended) < 20 or any(newest.get(lease.id) != 0.99 for lease in leases[20:]):
            item = await live.next()
            if item["kind"] == "completed":
                ended.add(item["job"])
            else:
                assert item["job"] not in ended
                assert newest.get(item["job"], 0.0) < item["progress"]
                newest[item["job"]] = item["progress"]
        assert ended == {lease.id for lease in leases[:20]}


async def test_all_jobs_of_a_tenant_are_told_those_to_come_too(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_all, "LOOK_EVERY_S", 0.01)
    both = {job["id"]: job for job in (await world.submit(), await world.submit())}
    lease = await world.lease()
    await world.complete(lease, {})
    ended = both.pop(lease.id)
    [living] = both.values()
    others = await world.submit()
    ledger = world.services.ledger
    [record] = await ledger.get([JobId(others["id"])])
    assert record is not None
    foreign = msgspec.structs.replace(record, id=JobId("job_" + "f" * 32), tenant=TenantId("somebody-else"))
    await ledger.insert([foreign])
    async with client(url, "?all=true") as live:
        first = {(await live.next())["job"] for _ in range(2)}
        assert first == {living["id"], others["id"]}
        later = await world.submit()
        seen = await live.next()
        assert seen["job"] != ended["id"]
        assert (seen["job"], seen["kind"]) == (later["id"], "snapshot")
        for _ in range(3):
            await world.complete(await world.lease(), {})
        told = [await live.next() for _ in range(6)]
        assert {item["job"] for item in told if item["kind"] == "completed"} == {*first, later["id"]}
        await live.ask("unsubscribe", all=True)
        await live.ask("subscribe", "job_x")
        assert (await live.next())["code"] == "unknown_job"
        assert gateway_of(world).all_jobs._tenants == {}


async def test_wrong_requests_are_answered_and_cost_nothing_else(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("springtide.gateway.live_socket.MOST_JOBS", 1)
    job, other = await world.submit(), await world.submit()
    async with client(url) as live:
        for text in ("", "{", "[]", '{"type":"dance"}', '{"type":"subscribe","job":"x"}', b"\xff\xfe"):
            await live.socket.send(text)
            item = await live.next()
            assert (item["kind"], item["code"]) == ("problem", "malformed_message") and item["detail"]
        await live.ask("subscribe", "../healthz", "job_" + "0" * 32, {"job": job["id"], "after": "yesterday"})
        assert [(await live.next())["code"] for _ in range(3)] == ["unknown_job", "bad_event_id", "unknown_job"]
        await live.ask("subscribe", job["id"], other["id"], job["id"])
        items = [await live.next() for _ in range(3)]
        assert [item.get("code", item["kind"]) for item in items] == ["snapshot", "too_many_jobs", "snapshot"]
        await live.ask("unsubscribe", "job_never", other["id"])
        await world.lease()
        assert (await live.next())["kind"] == "started"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("?job=x", 400, "unknown_parameter"), ("?all=yes", 400, "invalid_request")],
)
async def test_a_wrong_handshake_is_a_problem(url: str, query: str, status: int, code: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url + query)
    answer = refused.value.response
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["code"] == code


async def test_more_clients_than_allowed_are_refused_for_now(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, max_sockets=1) as world, served(world) as (host, port):
        url = f"ws://{host}:{port}/v1/live"
        async with client(url, "?jobs=job_x") as first:
            await first.next()
            with pytest.raises(InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 503


async def test_plain_http_is_told_to_upgrade(world: World) -> None:
    answer = await world.http.get("/v1/live")
    assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
    assert answer.headers["upgrade"] == "websocket" and answer.headers["x-request-id"]


async def test_a_server_that_stops_says_so_and_what_it_knew(world: World) -> None:
    job = await world.submit()
    async with contextlib.AsyncExitStack() as stack:
        async with served(world) as (host, port):
            live = await stack.enter_async_context(client(f"ws://{host}:{port}/v1/live", f"?jobs={job['id']}"))
            await live.next()
            await world.lease()
            assert (await live.next())["kind"] == "started"
        with pytest.raises(ConnectionClosed) as closed:
            await live.next()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    assert gateway_of(world).hub.listeners == 0


async def test_a_socket_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(InvalidStatus):
        await connect(url.replace("/v1/live", "/v1/jobs"))


def gateway_ref(job: dict[str, Any]) -> Any:
    from springtide.domain.ids import ModelName
    from springtide.domain.job import JobRef

    return JobRef(ModelName("synthetic"), JobId(job["id"]))

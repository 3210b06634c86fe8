"""The live event stream: in order, resumed without gaps or repeats, ended with the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_world import World, events_of, gateway_world, soon

from springtide.broker.memory import MemoryBroker
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, ModelName
from springtide.domain.job import Job, JobError, JobRef, JobStatus
from springtide.domain.lease import seq_after
from springtide.gateway.context import Gateway
from springtide.gateway.live import KEEP_ALIVE


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


async def stream(world: World, job: dict[str, Any], after: str | None = None) -> Any:
    headers = {} if after is None else {"Last-Event-ID": after}
    return await world.http.get(f"/v1/jobs/{job['id']}/events", headers=headers)


async def ended_job(world: World) -> dict[str, Any]:
    job = await world.submit()
    lease = await world.lease()
    await world.progress(lease, 0.25, "work")
    await world.complete(lease, {"seconds": 0.0, "steps": 1})
    return job


def gateway_of(world: World) -> Gateway:
    return world.app.state["gateway"]


async def record_of(world: World, job: dict[str, Any]) -> Job:
    [found] = await world.services.ledger.get([JobId(job["id"])])
    assert found is not None
    return found


async def test_a_stream_tells_the_whole_story_and_ends_with_the_job(world: World) -> None:
    job = await world.submit()
    following = await soon(stream(world, job))
    lease = await world.lease()
    await world.progress(lease, 0.25, "work")
    await world.fail(lease, JobError(code="crashed", message="It fell over."))
    answer = await following
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store" and answer.text.startswith("retry: 2000\n\n")
    events = events_of(answer.text)
    assert [kind for _, kind, _ in events] == ["queued", "started", "progress", "failed"]
    assert events[2][2]["progress"] == 0.25 and events[2][2]["stage"] == "work"
    assert events[3][2]["error"]["code"] == "crashed"
    assert all(data["job"] == job["id"] for _, _, data in events)


async def test_a_stream_resumes_after_the_last_event_seen(world: World) -> None:
    job = await ended_job(world)
    events = events_of((await stream(world, job)).text)
    for seen in range(len(events) - 1):
        after = events[seen][0]
        assert events_of((await stream(world, job, after)).text) == events[seen + 1 :]
        by_query = await world.http.get(f"/v1/jobs/{job['id']}/events?last_event_id={after}")
        assert events_of(by_query.text) == events[seen + 1 :]


async def test_a_story_that_is_over_and_seen_is_204(world: World) -> None:
    job = await ended_job(world)
    last = events_of((await stream(world, job)).text)[-1][0]
    answer = await stream(world, job, last)
    assert answer.status_code == 204 and answer.content == b""


async def test_after_a_restart_the_end_is_told_once_from_the_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await ended_job(world)
    seen = events_of((await stream(world, job)).text)
    empty = MemoryBroker()
    monkeypatch.setattr(gateway_of(world).live, "_broker", empty)
    from_start = events_of((await stream(world, job)).text)
    resumed = events_of((await stream(world, job, seen[1][0])).text)
    assert [kind for _, kind, _ in from_start] == ["completed"] and resumed == from_start
    assert (await stream(world, job, from_start[0][0])).status_code == 204


async def test_the_end_is_told_to_who_has_seen_events_of_a_clock_that_was_set_back_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await ended_job(world)
    future = f"{events_of((await stream(world, job)).text)[-1][0].partition('-')[0]}9-7"
    for _ in "announced", "only on record":
        [(told, kind, _)] = events_of((await stream(world, job, future)).text)
        assert kind == "completed" and told is not None and seq_after(told, future)
        assert (await stream(world, job, told)).status_code == 204
        monkeypatch.setattr(gateway_of(world).live, "_broker", MemoryBroker())


async def test_an_end_that_is_announced_between_two_looks_is_not_missed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await ended_job(world)
    whole = world.services.broker.read_events
    story = await whole(JobRef(ModelName("synthetic"), JobId(job["id"])), None)
    looks = 0

    async def read(ref: JobRef, after: str | None, *, wait_s: float = 0.0) -> Any:
        nonlocal looks
        looks += 1
        return await whole(ref, after) if looks > 1 else [event for event in story[:-1] if seq_after(event.seq, after)]

    monkeypatch.setattr(world.services.broker, "read_events", read)
    assert [kind for _, kind, _ in events_of((await stream(world, job, story[-2].seq)).text)] == ["completed"]


async def test_an_end_whose_announcement_was_lost_is_told_from_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unheard(*_: Any, **__: Any) -> None: ...

    async with gateway_world(tmp_path, keep_alive_s=0.02) as world:
        monkeypatch.setattr(world.services.broker, "announce", unheard)
        job = await world.submit()
        following = await soon(stream(world, job))
        await world.complete(await world.lease(), {})
        assert [kind for _, kind, _ in events_of((await following).text)] == ["queued", "started", "completed"]


async def test_a_silent_stream_is_kept_alive_without_an_id(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keep_alive_s=0.02) as world:
        job = await record_of(world, await world.submit())
        lines = await gateway_of(world).live.stream(job, None)
        assert lines is not None
        async for chunk in lines:
            if chunk == KEEP_ALIVE:
                break
        assert b"id:" not in KEEP_ALIVE and KEEP_ALIVE.startswith(b":")


async def test_a_stream_outlives_a_broker_that_is_down_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway_world(tmp_path, keep_alive_s=0.02) as world:
        job = await world.submit()
        await world.complete(await world.lease(), {})
        whole, down = world.services.broker.read_events, asyncio.Event()

        async def read(*args: Any, **kwargs: Any) -> Any:
            if not down.is_set():
                down.set()
                raise Unavailable("the broker is down")
            return await whole(*args, **kwargs)

        monkeypatch.setattr(world.services.broker, "read_events", read)
        live = msgspec.structs.replace(await record_of(world, job), status=JobStatus.IN_PROGRESS)
        lines = await gateway_of(world).live.stream(live, None)
        assert lines is not None
        text = b"".join([chunk async for chunk in lines]).decode()
        assert [kind for _, kind, _ in events_of(text)] == ["queued", "started", "completed"]


async def test_a_stream_says_why_its_job_waits_and_again_when_that_changes(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, explain_after_s=0.005, keep_alive_s=0.1) as world:
        await world.does_not_load()
        job = await record_of(world, await world.submit())
        lines = await gateway_of(world).live.stream(job, None)
        assert lines is not None

        async def next_waiting() -> dict[str, Any]:
            async for chunk in lines:
                if chunk.startswith(b"event: waiting"):
                    [(event_id, _, data)] = events_of(chunk.decode())
                    assert event_id is None
                    return data
            raise AssertionError("the stream ended")

        first = await next_waiting()
        assert (first["code"], first["job"], first["kind"]) == ("engine_not_loading", job.id, "waiting")
        assert "OSError: no device" in first["message"]
        assert await anext(lines) == KEEP_ALIVE  # the reason is not repeated
        await world.ready()
        assert (await next_waiting())["code"] == "queued_behind"
        await world.complete(await world.lease(), {})
        rest = events_of(b"".join([chunk async for chunk in lines]).decode())
        assert [kind for _, kind, _ in rest] == ["started", "completed"]


async def test_the_stream_of_a_removed_models_job_says_so_and_tells_its_end(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, keep_alive_s=0.05, explain_after_s=0.05) as world:
        job = await world.leftover("gone")
        lines = await gateway_of(world).live.stream(job, None)
        assert lines is not None
        assert b'"code":"model_removed"' in [await anext(lines) for _ in range(2)][1]
        assert (await world.http.post(f"/v1/jobs/{job.id}/cancel")).status_code == 200
        rest = events_of(b"".join([chunk async for chunk in lines]).decode())
        assert [kind for _, kind, _ in rest] == ["cancelled"]


async def test_a_closing_server_ends_streams_and_waits(world: World) -> None:
    lines = await gateway_of(world).live.stream(await record_of(world, await world.submit()), None)
    assert lines is not None
    assert [await anext(lines) for _ in range(2)][1].split(b"\n")[1] == b"event: queued"
    waiting = await soon(world.http.post("/v1/jobs", json={"model": "synthetic"}, headers={"Prefer": "wait=60"}))
    world.services.closing.set()
    assert [line async for line in lines] == []
    assert (await waiting).status_code == 202


async def test_an_event_id_that_is_none_is_refused(world: World) -> None:
    answer = await stream(world, await world.submit(), "yesterday")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_event_id")


async def test_more_streams_than_allowed_are_refused_for_now(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, max_streams=0) as world:
        answer = await stream(world, await world.submit())
        assert answer.status_code == 503 and "retry-after" in answer.headers


async def test_a_reader_that_goes_away_gives_its_stream_back(world: World) -> None:
    job = await world.submit()
    told = asyncio.Event()

    async def receive() -> Any:
        await told.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"event: queued" in message.get("body", b""):
            assert gateway_of(world).live.streams == 1
            told.set()

    path = f"/v1/jobs/{job['id']}/events"
    scope: Any = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": ""}
    scope |= {"query_string": b"", "headers": [], "scheme": "http", "server": None, "client": None, "state": {}}
    await world.app(scope, receive, send)
    assert gateway_of(world).live.streams == 0
    assert (await world.lease()).id == job["id"]  # and the job goes on

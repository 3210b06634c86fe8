"""The moments between a story and its news: nothing is missed, nothing is told twice, and no reader stays behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from gateway_world import World, gateway_world

from springtide.domain.ids import JobId
from springtide.domain.job import Job
from springtide.gateway.context import Gateway
from springtide.gateway.live_hub import Hub


class FakeWire:
    def __init__(self) -> None:
        self.is_writable = True
        self.on_writable: Any = None
        self.items: list[dict[str, Any]] = []
        self.code: int | None = None
        self._news = asyncio.Event()

    def write(self, frame: bytes) -> None:
        self.items += json.loads(frame[2 if frame[1] < 126 else 4 :])
        self._news.set()

    def close(self, code: int, reason: str) -> None:
        self.code = code
        self._news.set()

    async def until(self, kind: str) -> list[str]:
        while not any(item["kind"] == kind for item in self.items):
            self._news.clear()
            await self._news.wait()
        return [item["kind"] for item in self.items]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    async with gateway_world(tmp_path) as made:
        yield made


@pytest.fixture
def hub(world: World) -> Hub:
    gateway: Gateway = world.app.state["gateway"]
    return gateway.hub


async def new_job(world: World) -> Job:
    [found] = await world.services.ledger.get([JobId((await world.submit())["id"])])
    assert found is not None
    return found


class SlowReads:
    """Holds back the answers to reads that do not wait, until told."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        whole = world.services.broker.read_events

        async def read(ref: Any, after: str | None, *, wait_s: float = 0.0) -> Any:
            answer = await whole(ref, after, wait_s=wait_s)
            if wait_s == 0.0:
                self.asked.set()
                await self.go.wait()
            return answer

        monkeypatch.setattr(world.services.broker, "read_events", read)


async def test_an_event_that_comes_while_the_story_is_fetched_is_told_once(
    world: World, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(world)
    first, second = FakeWire(), FakeWire()
    await hub.subscribe(hub.join(first), job, None)
    await first.until("snapshot")
    slow = SlowReads(world, monkeypatch)
    subscribing = asyncio.create_task(hub.subscribe(hub.join(second), job, None))
    await slow.asked.wait()
    lease = await world.lease()
    await world.progress(lease, 0.5)
    await first.until("progress")
    slow.go.set()
    await subscribing
    await world.complete(lease, {})
    assert await first.until("completed") == ["snapshot", "started", "progress", "completed"]
    assert await second.until("completed") == ["snapshot", "started", "progress", "completed"]


async def test_an_end_that_comes_while_the_story_is_fetched_is_told(
    world: World, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(world)
    first, second = FakeWire(), FakeWire()
    await hub.subscribe(hub.join(first), job, None)
    slow = SlowReads(world, monkeypatch)
    late = hub.join(second)
    subscribing = asyncio.create_task(hub.subscribe(late, job, None))
    await slow.asked.wait()
    await world.complete(await world.lease(), {})
    await first.until("completed")
    slow.go.set()
    await subscribing
    assert await second.until("completed") == ["snapshot", "started", "completed"]
    assert late.places == {} and hub._feeds == {}


async def test_who_leaves_while_the_story_is_fetched_is_told_nothing_and_leaves_nothing(
    world: World, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await new_job(world)
    slow, wire = SlowReads(world, monkeypatch), FakeWire()
    listener = hub.join(wire)
    subscribing = asyncio.create_task(hub.subscribe(listener, job, None))
    await slow.asked.wait()
    hub.leave(listener)
    slow.go.set()
    await subscribing
    assert wire.items == [] and hub._feeds == {} and hub.listeners == 0


async def test_a_reader_ends_with_its_last_follower(world: World, hub: Hub) -> None:
    job = await new_job(world)
    listeners = [hub.join(FakeWire()) for _ in range(2)]
    for listener in listeners:
        await hub.subscribe(listener, job, None)
    reader = hub._feeds[job.id].reader
    assert reader is not None
    hub.unsubscribe(listeners[0], job.id)
    assert not reader.done() and hub._feeds
    hub.unsubscribe(listeners[1], job.id)
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert hub._feeds == {}


async def test_at_the_end_of_the_server_what_is_known_is_told_before_the_goodbye(world: World, hub: Hub) -> None:
    job = await new_job(world)
    wire = FakeWire()
    await hub.subscribe(hub.join(wire), job, None)
    world.services.closing.set()
    while wire.code is None:
        await asyncio.sleep(0)
    assert wire.code == 1012 and [item["kind"] for item in wire.items] == ["snapshot"]

"""The watch of one kind, over real HTTP: nothing is missed, whatever becomes of the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.fleet import kubernetes_api
from springtide.fleet.kubernetes_api import PODS, Object
from springtide.fleet.kubernetes_reflector import Reflector
from springtide.testing.cluster import Cluster, cluster_world


class Seen:
    """A reflector of pods, and what it told."""

    def __init__(self, cluster: Cluster) -> None:
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.reflector = Reflector(
            cluster.api, PODS, cluster.clock, labels="app=m", on_set=self._set, on_gone=self._gone
        )

    def _set(self, pod: Object) -> None:
        self.told.put_nowait(f"+{pod['metadata']['name']}")

    def _gone(self, pod: Object) -> None:
        self.told.put_nowait(f"-{pod['metadata']['name']}")

    async def next(self) -> str:
        return await asyncio.wait_for(self.told.get(), 60)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_world(tmp_path) as one:
        yield one


@pytest.fixture
async def seen(cluster: Cluster) -> AsyncIterator[Seen]:
    one = Seen(cluster)
    cluster.pod("a")
    await one.reflector.start()
    assert await one.next() == "+a"
    yield one
    await one.reflector.stop()


async def test_what_happens_is_told_in_order(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    cluster.pod("b")
    cluster.double.delete("Pod", "a")
    assert [await seen.next(), await seen.next()] == ["+b", "-a"]
    assert set(seen.reflector.objects) == {"b"}


async def test_any_text_in_an_object_leaves_the_watch_whole(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    lists = cluster.double.count(verb="list", plural="pods")
    text = "what a container said: \x85 \u2028 \x1e"
    metadata = {"name": "b", "labels": {"app": "m"}, "annotations": {"last-words": text}}
    cluster.double.create({"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "worker"}]}})
    assert await seen.next() == "+b"
    assert seen.reflector.objects["b"]["metadata"]["annotations"] == {"last-words": text}
    assert cluster.double.count(verb="list", plural="pods") == lists


async def test_what_vanished_while_the_server_was_away_is_told_by_the_next_list(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    await cluster.double.kill()
    await cluster.until(lambda: not seen.reflector.is_current)
    assert set(seen.reflector.objects) == {"a"}, "what is not known to be gone stays"
    cluster.double.delete("Pod", "a")
    cluster.pod("b")
    await cluster.double.start()
    told = [await cluster.passing(seen.next()), await cluster.passing(seen.next())]
    assert told == ["-a", "+b"]
    assert seen.reflector.is_current


async def test_one_that_was_made_again_under_its_name_meanwhile_is_gone_first(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    await cluster.double.kill()
    cluster.double.delete("Pod", "a")
    cluster.pod("a")
    await cluster.double.start()
    assert [await cluster.passing(seen.next()), await cluster.passing(seen.next())] == ["-a", "+a"]


async def test_a_history_that_is_too_short_costs_a_list(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    lists = cluster.double.count(verb="list", plural="pods")
    cluster.double.fail(verb="watch", code=410)
    await cluster.double.end_watches()
    cluster.pod("b")
    cluster.double.store.forget_history()
    assert await cluster.passing(seen.next()) == "+b"
    await cluster.until(lambda: seen.reflector.is_current)
    assert cluster.double.count(verb="list", plural="pods") > lists


async def test_a_watch_that_ends_in_order_goes_on_without_a_list(cluster: Cluster, seen: Seen) -> None:
    await cluster.watched("pods")
    await cluster.double.end_watches()
    cluster.pod("b")
    assert await cluster.passing(seen.next()) == "+b"
    assert cluster.double.count(verb="list", plural="pods") == 1


async def test_silence_costs_another_watch_and_no_list(
    cluster: Cluster, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing happens a server may send nothing at all, bookmarks neither."""
    await cluster.watched("pods")
    monkeypatch.setattr(kubernetes_api, "SILENT_S", 0.01)
    lists = cluster.double.count(verb="list", plural="pods")
    await cluster.double.end_watches()
    await cluster.passing(cluster.watched("pods", times=4))
    assert seen.reflector.is_current
    monkeypatch.undo()
    cluster.pod("b")
    assert await cluster.passing(seen.next()) == "+b"
    assert cluster.double.count(verb="list", plural="pods") == lists


async def test_bookmarks_keep_a_quiet_watch_from_falling_behind(cluster: Cluster, seen: Seen) -> None:
    """Without them a watch of few objects in a busy cluster comes back with a version long forgotten."""
    await cluster.watched("pods")
    cluster.double.bookmark_every(0.001)
    await cluster.double.end_watches()
    await cluster.passing(cluster.watched("pods", times=2))
    cluster.double.store.forget_history()
    marks = seen.reflector
    await cluster.until(lambda: marks.since == str(cluster.double.store.version))
    await cluster.double.end_watches()
    await cluster.passing(cluster.watched("pods", times=3))
    assert cluster.double.count(verb="list", plural="pods") == 1


@pytest.mark.parametrize("code", [429, 500, 403])
async def test_a_server_that_refuses_is_asked_again_later(cluster: Cluster, code: int) -> None:
    fault = cluster.double.fail(verb="list", code=code, times=2)
    cluster.pod("a")
    one = Seen(cluster)
    await one.reflector.start()
    assert await cluster.passing(one.next()) == "+a"
    assert fault.times == 0
    await one.reflector.stop()

"""The fleet of pods: what it does to a cluster, what it refuses to, and what it says of pods that do not come up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from springtide.domain.errors import Unavailable
from springtide.domain.fleet import Decision, Replica, ReplicaPhase, Trouble
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.kubernetes import KubernetesFleet
from springtide.testing.cluster import Cluster, M, cluster_world
from springtide.testing.kubernetes import COST


class World:
    """A fleet, its cluster, and what was told of workers that have gone."""

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self.cluster = cluster
        self.double = cluster.double
        self.may_act = True
        self.gone: asyncio.Queue[WorkerId] = asyncio.Queue()
        self.fleet = KubernetesFleet(
            cluster.api,
            cluster.clock,
            [M],
            instance="springtide",
            may_act=lambda: self.may_act,
            on_gone=self._on_gone,
            **settings,
        )

    async def _on_gone(self, model: ModelName, worker: WorkerId) -> None:
        self.gone.put_nowait(worker)

    async def want(self, replicas: int, *, idle: Sequence[str] = (), message: str = "12 jobs wait") -> None:
        decision = Decision(model=M, replicas=replicas, reason="QUEUE", message=message)
        await self.fleet.apply(decision, drain_first=[WorkerId(name) for name in idle])

    async def brought(self, replicas: int, *, idle: Sequence[str] = ()) -> None:
        """Want it, and wait until the Deployment does and the fleet has seen its pods."""
        await self.want(replicas, idle=idle)
        await self.cluster.until(lambda: self.cluster.replicas() == replicas and not self.fleet._acts)
        await self.seen()

    async def seen(self) -> None:
        there = {WorkerId(name) for name in self.cluster.pods()}
        while {one.worker for one in await self.fleet.observe()} != there:
            await asyncio.sleep(0.001)

    async def trouble(self) -> Trouble:
        """The first that shows."""
        while True:
            for one in await self.fleet.observe():
                if one.trouble is not None:
                    return one.trouble
            await asyncio.sleep(0.001)

    async def replica(self) -> Replica:
        [one] = await self.fleet.observe()
        return one

    def costs(self) -> dict[str, str | None]:
        """Of the pods that stay."""
        pods = {pod["metadata"]["name"]: pod for pod in self.double.all("Pod")}
        return {name: pods[name]["metadata"].get("annotations", {}).get(COST) for name in self.cluster.pods()}

    def events(self) -> list[tuple[str, str]]:
        return [(one["involvedObject"]["kind"], one["reason"]) for one in self.double.all("Event")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with cluster_world(tmp_path) as cluster:
        cluster.deployment()
        one = World(cluster)
        await one.fleet.start()
        await one.fleet.seen()
        yield one
        await one.fleet.stop(0)


async def test_it_writes_the_scale_and_never_the_deployment(world: World) -> None:
    """The rights that the double grants would not allow it either."""
    await world.brought(3)
    written = [one for one in world.double.requests if one.verb in ("create", "update", "patch", "delete")]
    assert {(one.kind.plural, one.subresource, one.verb) for one in written} <= {
        ("deployments", "scale", "patch"),
        ("events", "", "create"),
    }


async def test_a_busy_pod_is_never_chosen_before_an_idle_one(world: World) -> None:
    await world.brought(4)
    busy_a, idle_a, busy_b, idle_b = world.cluster.pods()
    await world.brought(2, idle=[idle_b, idle_a])
    assert set(world.cluster.pods()) == {busy_a, busy_b}


async def test_the_mark_of_a_pod_that_works_again_is_taken_back(world: World) -> None:
    await world.brought(3)
    one, two, three = world.cluster.pods()
    world.may_act = False
    mark = {"annotations": {COST: "-1000"}}  # as for a scale-in that another controller did not come to write
    world.double.change("Pod", one, lambda pod: {**pod, "metadata": {**pod["metadata"], **mark}})
    world.may_act = True
    await world.cluster.until(lambda: world.fleet._pods.objects[one]["metadata"].get("annotations") is not None)
    await world.brought(2, idle=[three])
    assert world.costs() == {one: None, two: None}


async def test_a_cost_that_somebody_else_has_set_stays(world: World) -> None:
    await world.brought(3)
    one, two, three = world.cluster.pods()
    mark = {"annotations": {COST: "500"}}
    world.double.change("Pod", one, lambda pod: {**pod, "metadata": {**pod["metadata"], **mark}})
    await world.cluster.until(lambda: world.fleet._pods.objects[one]["metadata"].get("annotations") is not None)
    await world.brought(2, idle=[three])
    assert world.costs() == {one: "500", two: None}


async def test_every_act_is_an_event_on_its_object(world: World) -> None:
    await world.brought(2)
    [first, _] = world.cluster.pods()
    await world.brought(1, idle=[first])
    await world.cluster.until(lambda: len(world.events()) == 3)
    assert sorted(world.events()) == [("Deployment", "ScaledIn"), ("Deployment", "ScaledOut"), ("Pod", "MarkedIdle")]
    [out] = [one for one in world.double.all("Event") if one["reason"] == "ScaledOut"]
    assert out["message"] == "0 to 2 workers (QUEUE: 12 jobs wait)"
    assert out["involvedObject"]["uid"] == world.double.get("Deployment", "springtide-worker-m")["metadata"]["uid"]


async def test_without_leadership_nothing_is_done(world: World) -> None:
    world.may_act = False
    await world.want(3)
    assert not world.fleet._acts
    assert world.cluster.replicas() == 0
    assert world.fleet.wishes.of(M) == 3, "what is wished is known all the same"


async def test_leadership_that_is_lost_in_the_middle_stops_the_act(world: World) -> None:
    hold = asyncio.Event()
    world.double.fail(verb="get", plural="deployments", hold=hold)
    await world.want(3)
    await world.cluster.until(lambda: world.double.count(verb="get", plural="deployments", subresource="scale") == 1)
    world.may_act = False
    hold.set()
    await world.cluster.until(lambda: not world.fleet._acts)
    assert world.cluster.replicas() == 0


async def test_a_number_that_another_has_written_meanwhile_is_not_overwritten_unseen(world: World) -> None:
    """Between its look and its write somebody else scales: the write is refused, and it looks again."""
    hold = asyncio.Event()
    world.double.fail(verb="get", plural="deployments", hold=hold)
    await world.want(3)
    await world.cluster.until(lambda: world.double.count(verb="get", plural="deployments", subresource="scale") == 1)
    world.double.change(
        "Deployment", "springtide-worker-m", lambda one: {**one, "spec": {**one["spec"], "replicas": 5}}
    )
    hold.set()
    await world.cluster.until(lambda: world.cluster.replicas() == 3)
    assert world.double.count(verb="patch", plural="deployments", subresource="scale") == 2


async def test_a_wish_that_comes_while_another_is_written_is_done_after_it(world: World) -> None:
    hold = asyncio.Event()
    world.double.fail(verb="patch", plural="deployments", hold=hold)
    await world.want(3)
    await world.cluster.until(lambda: world.double.count(verb="patch", plural="deployments", subresource="scale") == 1)
    await world.want(5)
    hold.set()
    await world.cluster.until(lambda: not world.fleet._acts)
    assert world.cluster.replicas() == 5


async def test_an_api_server_that_is_away_is_waited_for_and_the_newest_wish_is_done(world: World) -> None:
    await world.brought(2)
    pods = world.cluster.pods()
    await world.double.kill()
    for replicas in (3, 4):
        await world.want(replicas)
        await world.cluster.clock.advance(0.5)
    assert {one.worker for one in await world.fleet.observe()} == {WorkerId(name) for name in pods}, "it holds"
    await world.double.start()
    await world.cluster.until(lambda: world.cluster.replicas() == 4)


@pytest.mark.parametrize("fault", [{"code": 429, "retry_after_s": 3}, {"code": 500}, {"drop": True, "after": True}])
async def test_a_write_that_fails_or_is_lost_is_done_once(world: World, fault: dict[str, Any]) -> None:
    world.double.fail(verb="patch", plural="deployments", **fault)
    await world.want(2)
    began_s = world.cluster.clock.now_s()
    await world.cluster.until(lambda: not world.fleet._acts)
    assert world.cluster.replicas() == 2
    assert len(world.cluster.pods()) == 2
    assert world.cluster.clock.now_s() - began_s >= fault.get("retry_after_s", 0)


async def test_a_cluster_that_was_never_seen_is_no_empty_one(tmp_path: Path) -> None:
    async with cluster_world(tmp_path) as cluster:
        await cluster.double.kill()
        world = World(cluster)
        await world.fleet.start()
        with pytest.raises(Unavailable, match="not been seen"):
            await world.fleet.observe()
        await world.fleet.stop(0)


async def test_pods_stay_when_the_controller_goes(world: World) -> None:
    await world.brought(2)
    await world.fleet.stop(0)
    assert len(world.cluster.pods()) == 2


async def test_a_pod_that_is_gone_is_told_at_once(world: World) -> None:
    await world.brought(1)
    [name] = world.cluster.pods()
    world.double.cluster.gone(name)
    assert await asyncio.wait_for(world.gone.get(), 60) == name


async def test_a_pod_on_its_way_out_drains(world: World) -> None:
    world.double.cluster.holds_leaving = True
    await world.brought(1)
    await world.want(0)
    await world.cluster.until(lambda: world.cluster.replicas() == 0)
    while (await world.replica()).phase is not ReplicaPhase.DRAINING:
        await asyncio.sleep(0.001)


async def test_a_pod_that_loads_is_in_no_trouble(world: World) -> None:
    world.double.cluster.next_pods = "loading"
    await world.brought(1)
    one = await world.replica()
    assert (one.phase, one.trouble) == (ReplicaPhase.RUNNING, None)


async def test_a_crash_loop_says_how_the_container_ends(world: World) -> None:
    await world.brought(1)
    [name] = world.cluster.pods()
    world.double.cluster.crash_loop(name, exit_code=137, reason="OOMKilled", restarts=4)
    trouble = await world.trouble()
    assert trouble.code == "crash_looping"
    assert trouble.message == (
        "container worker died 4 times: out of memory (exit code 137): its limit is too low for the model"
    )
    assert (await world.replica()).phase is ReplicaPhase.BACKING_OFF


async def test_a_container_that_just_runs_again_is_in_its_loop_still(world: World) -> None:
    await world.brought(1)
    [name] = world.cluster.pods()
    world.double.cluster.crash_loop(name, restarts=4)
    world.double.cluster.loading(name)
    trouble = await world.trouble()
    assert trouble.message == "container worker died 4 times: exit code 1"


async def test_a_pod_that_no_node_takes_says_why(world: World) -> None:
    world.double.cluster.room = 0
    await world.brought(1)
    trouble = await world.trouble()
    assert trouble.code == "unschedulable"
    assert "Insufficient nvidia.com/gpu" in trouble.message
    assert (await world.replica()).phase is ReplicaPhase.RUNNING, "a node may be on its way: its start takes longer"


@pytest.mark.parametrize(
    ("reason", "code"),
    [("ImagePullBackOff", "image_not_pulled"), ("CreateContainerConfigError", "pod_misconfigured")],
)
async def test_a_container_that_cannot_begin_says_why(world: World, reason: str, code: str) -> None:
    await world.brought(1)
    [name] = world.cluster.pods()
    world.double.cluster.waiting(name, reason, "because")
    trouble = await world.trouble()
    assert (trouble.code, "because" in trouble.message) == (code, True)


async def test_a_share_that_does_not_mount_says_so(world: World) -> None:
    """By its status it is a pod whose image is being fetched: only events tell, and nobody asks for them before."""
    world.double.cluster.next_pods = "scheduled"
    await world.brought(1)
    [name] = world.cluster.pods()
    assert (await world.replica()).trouble is None
    assert world.double.count(verb="list", plural="events") == 0
    world.double.cluster.fails_to_mount(name, "mount.nfs: Connection timed out")
    await world.cluster.clock.advance(60)
    trouble = await world.trouble()
    assert (trouble.code, "Connection timed out" in trouble.message) == ("volume_not_mounted", True)
    for _ in range(20):
        await world.fleet.observe()
    assert world.double.count(verb="list", plural="events") == 1
    world.double.cluster.ready(name)
    while (await world.replica()).trouble is not None:
        await asyncio.sleep(0.001)


async def test_a_quota_shows_as_workers_that_are_missing(world: World) -> None:
    world.double.cluster.quota = 1
    await world.want(3)
    trouble = await world.trouble()
    assert trouble.code == "quota_exceeded"
    phases = [one.phase for one in await world.fleet.observe()]
    assert phases.count(ReplicaPhase.BACKING_OFF) == 2


async def test_a_model_without_deployment_says_what_to_apply(world: World) -> None:
    world.double.delete("Deployment", "springtide-worker-m")
    await world.want(1)
    trouble = await world.trouble()
    assert trouble.code == "no_deployment"
    assert "springtide deploy render" in trouble.message


async def test_a_right_that_is_missing_shows_as_the_reason(world: World) -> None:
    assert world.double.rights is not None
    world.double.rights -= {("apps", "deployments/scale", "patch")}
    await world.want(1)
    trouble = await world.trouble()
    assert trouble.code == "scaling_refused"
    assert 'cannot patch resource "deployments/scale"' in trouble.message


async def test_where_keda_scales_pods_are_marked_and_nothing_else_is_written(tmp_path: Path) -> None:
    async with cluster_world(tmp_path) as cluster:
        cluster.deployment(replicas=3)
        world = World(cluster, scales=False)
        await world.fleet.start()
        await world.fleet.seen()
        one, two, three = cluster.pods()
        await world.want(5)
        assert not world.fleet._acts
        await world.want(2, idle=[two])
        await cluster.until(lambda: world.costs()[two] == "-1000")
        await cluster.until(lambda: not world.fleet._acts)
        await cluster.until(
            lambda: world.fleet._pods.objects[two]["metadata"].get("annotations", {}).get(COST) is not None
        )
        await world.want(2, idle=[two])
        assert not world.fleet._acts, "a mark that is there is not written again"
        await world.want(2, idle=[one])
        await cluster.until(lambda: world.costs() == {one: "-1000", two: None, three: None})
        assert cluster.replicas() == 3
        await world.fleet.stop(0)

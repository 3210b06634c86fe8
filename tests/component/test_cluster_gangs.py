"""Gangs as objects of a cluster: started once, seen as they are, gone when they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from springtide.domain.errors import ConfigError, Unavailable
from springtide.domain.ids import ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet.gang_objects import RESOURCES
from springtide.fleet.gangs import REPORTED_EXIT, GangPhase, GangPods, GangShape, GangView, Runs, gang_name
from springtide.fleet.kubernetes_api import LightkubeApi
from springtide.fleet.pytorchjob import ClusterGangs
from springtide.fleet.rights import as_triples, gang_rights
from springtide.runtime.ids import new_job_id
from springtide.testing.cluster import Cluster, cluster_world
from springtide.testing.kubernetes import NO_GPU, PYTORCH_JOB, TRAIN_JOB

FILM = ModelName("film")
RANKS = {Runs.PYTORCHJOB: ("master-0", "worker-0"), Runs.TRAINJOB: ("node-0-0-abcde", "node-0-1-fghij")}
POD: dict[str, Any] = {
    "spec": {"volumes": []},
    "before": [],
    "container": {"image": "springtide/worker:1", "volumeMounts": []},
    "env": [],
    "resources": {},
    "fetch_resources": {},
}


class World:
    """Two ranks a gang; the training operator is the test."""

    def __init__(self, cluster: Cluster, runs_as: Runs) -> None:
        self.cluster = cluster
        self.runs_as = runs_as
        self.kind = RESOURCES[runs_as].kind
        cluster.double.rights = as_triples(gang_rights({runs_as}))
        self.gangs = self.new("film-1")
        self.view: GangView

    def new(self, worker: str) -> ClusterGangs:
        api = LightkubeApi(manager="springtide-worker", kubeconfig=self.cluster.kubeconfig)
        return ClusterGangs(
            api,
            FILM,
            WorkerId(worker),
            shape=GangShape(processes=2),
            given=GangPods(pod=POD),
            runs_as=self.runs_as,
            clock=self.cluster.clock,
        )

    async def start(self, attempt: int = 1) -> str:
        lease = Lease(
            id=new_job_id(),
            model=FILM,
            tenant=TenantId("t"),
            worker=WorkerId("film-1"),
            attempt=attempt,
            max_attempts=3,
            payload=msgspec.msgpack.encode(Payload(inputs={"prompt": "{{ x }}"})),
            timeout_s=60.0,
            enqueued_at_s=0.0,
        )
        self.lease = lease
        self.view = await self.gangs.start(lease)
        return self.view.name

    def pods(self, name: str) -> list[str]:
        """As the operator makes them."""
        one = self.cluster.double.get(self.kind, name)
        owner = {"apiVersion": one["apiVersion"], "kind": self.kind, "name": name, "uid": one["metadata"]["uid"]}
        names = [f"{name}-{rank}" for rank in RANKS[self.runs_as]]
        for pod in names:
            self.make(pod, name, owner)
        return names

    def make(self, pod: str, gang: str, owner: dict[str, Any]) -> None:
        first, _ = RANKS[self.runs_as]
        if self.runs_as is Runs.PYTORCHJOB:
            role = "master" if pod.endswith(first) else "worker"
            marks = {"training.kubeflow.org/job-name": gang, "training.kubeflow.org/job-role": role}
        else:
            index = "0" if pod.endswith(first) else "1"
            marks = {"jobset.sigs.k8s.io/jobset-name": gang, "batch.kubernetes.io/job-completion-index": index}
        spec = {"containers": [{"name": "pytorch"}]}
        metadata = {"name": pod, "labels": marks, "ownerReferences": [owner]}
        self.cluster.double.create({"kind": "Pod", "metadata": metadata, "spec": spec})

    async def becomes(self, phase: GangPhase) -> GangView:
        async with asyncio.timeout(60):
            while self.view.phase is not phase:
                self.view = await self.gangs.change(self.view)
        return self.view

    async def running(self) -> list[str]:
        pods = self.pods(await self.start())
        for pod in pods:
            self.cluster.double.cluster.ready(pod)
        await self.becomes(GangPhase.RUNNING)
        return pods

    def end(self, pod: str, code: int, reason: str = "Error") -> None:
        phase = "Succeeded" if code == 0 else "Failed"
        state = {"terminated": {"exitCode": code, "reason": reason}}
        status = {"phase": phase, "containerStatuses": [{"name": "pytorch", "state": state}]}
        self.cluster.double.change("Pod", pod, lambda one: {**one, "status": status}, subresource="status")

    def condition(self, kind: str, message: str = "") -> None:
        status = {"conditions": [{"type": kind, "status": "True", "message": message}]}
        name = self.view.name
        self.cluster.double.change(self.kind, name, lambda one: {**one, "status": status}, subresource="status")


@pytest.fixture(params=[Runs.PYTORCHJOB, Runs.TRAINJOB])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with cluster_world(tmp_path) as cluster:
        one = World(cluster, request.param)
        await one.gangs.open()
        yield one
        await one.gangs.close()


async def test_a_gang_runs_when_all_its_pods_do_and_ends_with_rank_0(world: World) -> None:
    master, _ = await world.running()
    world.end(master, 0)
    assert (await world.becomes(GangPhase.SUCCEEDED)).error is None


async def test_the_objects_own_word_counts_too(world: World) -> None:
    await world.running()
    world.condition("Succeeded" if world.runs_as is Runs.PYTORCHJOB else "Complete")
    await world.becomes(GangPhase.SUCCEEDED)


@pytest.mark.parametrize(
    ("code", "reason", "phase", "said"),
    [
        (REPORTED_EXIT, "Error", GangPhase.SUCCEEDED, None),
        (139, "Error", GangPhase.FAILED, ("crashed", "was ended by signal 11")),
        (137, "OOMKilled", GangPhase.FAILED, ("out_of_memory", "ran out of memory")),
    ],
)
async def test_the_end_of_a_rank_is_told_as_what_it_was(
    world: World, code: int, reason: str, phase: GangPhase, said: tuple[str, str] | None
) -> None:
    _, worker = await world.running()
    world.end(worker, code, reason)
    error = (await world.becomes(phase)).error
    rank = RANKS[world.runs_as][1]
    assert (None if error is None else (error.code, error.message)) == (said and (said[0], f"rank {rank} {said[1]}"))
    assert error is None or error.retryable


async def test_a_pod_that_went_away_is_a_lost_rank_though_the_operator_puts_another_there(world: World) -> None:
    _, worker = await world.running()
    owner = world.cluster.double.get("Pod", worker)["metadata"]["ownerReferences"][0]
    world.cluster.double.delete("Pod", worker)
    world.make(worker, world.view.name, owner)
    error = (await world.becomes(GangPhase.FAILED)).error
    assert error is not None
    assert (error.code, error.message) == ("worker_lost", f"pod {worker} went away")


async def test_what_it_waits_for_is_told(world: World) -> None:
    master, _ = world.pods(await world.start())
    world.cluster.double.cluster.unschedulable(master)
    async with asyncio.timeout(60):
        while world.view.message != NO_GPU:
            world.view = await world.gangs.change(world.view)
    assert world.view.phase is GangPhase.PENDING
    world.condition("Suspended")
    async with asyncio.timeout(60):
        while "queued by the cluster" not in world.view.message:
            world.view = await world.gangs.change(world.view)


async def test_a_volume_that_does_not_come_is_told_as_what_it_waits_for(world: World) -> None:
    master, _ = world.pods(await world.start())
    world.cluster.double.cluster.fails_to_mount(master, "mount.nfs: Connection timed out")

    async def told() -> str:
        while "Connection timed out" not in world.view.message:
            world.view = await world.gangs.change(world.view)
        return world.view.message

    message = await world.cluster.passing(told())
    assert world.view.phase is GangPhase.PENDING
    assert message.startswith("a volume of its pod does not come: ")
    assert world.cluster.double.count(verb="list", plural="events") == 1


async def test_a_start_whose_answer_got_lost_makes_no_second_object(world: World) -> None:
    name = await world.start()
    again = await world.gangs.start(world.lease)
    assert again.name == name
    assert len(world.cluster.double.all(world.kind)) == 1
    with pytest.raises(Unavailable, match="not gone yet"):
        await _start_as_other(world)


async def _start_as_other(world: World) -> None:
    other = world.new("film-2")
    await other.open()
    try:
        await other.start(world.lease)
    finally:
        await other.close()


async def test_a_stop_returns_when_no_pod_is_left(world: World) -> None:
    await world.running()
    world.cluster.double.cluster.holds_leaving = True
    stopping = asyncio.create_task(world.gangs.stop(world.view.name))
    async with asyncio.timeout(60):
        while not all(pod["metadata"].get("deletionTimestamp") for pod in world.cluster.double.all("Pod")):
            await asyncio.sleep(0)
    assert not stopping.done()
    for pod in world.cluster.double.all("Pod"):
        world.cluster.double.cluster.gone(pod["metadata"]["name"])
    await world.cluster.passing(stopping)
    assert world.cluster.double.all(world.kind) == []
    await world.gangs.stop(world.view.name)  # once more changes nothing


async def test_gangs_of_other_workers_are_listed_with_whose_they_are(world: World) -> None:
    name = await world.start(attempt=2)
    other = world.new("film-2")
    await other.open()
    [seen] = await other.list()
    assert (seen.name, seen.job, seen.attempt, seen.worker) == (name, world.lease.id, 2, "film-1")
    assert name == gang_name(world.lease.id, 2)
    await other.close()


async def test_a_killed_api_server_costs_no_gang(world: World) -> None:
    master, _ = await world.running()
    await world.cluster.double.kill()
    with pytest.raises(Unavailable):
        await world.gangs.list()
    await world.cluster.double.start()
    world.end(master, 0)
    view = await world.cluster.passing(world.becomes(GangPhase.SUCCEEDED))
    assert view.error is None


@pytest.mark.parametrize("code", [403, 404])
async def test_a_server_that_has_just_begun_may_refuse_for_a_moment(world: World, code: int) -> None:
    """Seen: a killed API server is back, and knows neither roles nor kinds for a second or two."""
    world.cluster.double.fail(verb="create", plural=RESOURCES[world.runs_as].plural, code=code, times=2)
    name = await world.cluster.passing(world.start())
    assert world.cluster.double.get(world.kind, name)


async def test_a_start_that_stays_refused_says_why(world: World) -> None:
    world.cluster.double.fail(verb="create", plural=RESOURCES[world.runs_as].plural, code=403, times=1000)
    with pytest.raises(ConfigError, match=f"{world.kind} .* is refused"):
        await world.cluster.passing(world.start())


async def test_a_cluster_without_the_operator_says_so(world: World) -> None:
    world.cluster.double.kinds.remove(PYTORCH_JOB if world.runs_as is Runs.PYTORCHJOB else TRAIN_JOB)
    other = world.new("film-2")
    with pytest.raises(ConfigError, match=rf"{world.kind} .* no such kind: install its operator"):
        await other.open()
    await other.close()


async def test_every_act_is_an_event_on_its_object_and_no_right_is_left_over(world: World) -> None:
    """What is asked of the API server from the first start to the end of a lost gang is what the Role allows."""
    _, worker = await world.running()
    await world.gangs.start(world.lease)
    world.cluster.double.delete("Pod", worker)
    await world.becomes(GangPhase.FAILED)
    await world.gangs.stop(world.view.name)
    assert await world.gangs.list() == []
    async with asyncio.timeout(60):
        while {"pods", RESOURCES[world.runs_as].plural} > {
            one.kind.plural for one in world.cluster.double.requests if one.verb == "watch"
        }:
            await asyncio.sleep(0)
    await world.gangs.close()
    events = world.cluster.double.all("Event")
    told = {(one["reason"], one["type"], one["involvedObject"]["kind"]): one["message"] for one in events}
    assert told == {
        ("Started", "Normal", world.kind): f"attempt 1 of job {world.lease.id}, in 2 processes",
        ("Lost", "Warning", world.kind): f"pod {worker} went away; all of it is stopped",
        ("Deleted", "Normal", world.kind): "its attempt is over for film-1",
    }
    assert len({one["involvedObject"]["uid"] for one in events}) == 1
    used = {("", "events", "list")}  # of a volume that does not come: asked where one waits for long
    used |= {(one.kind.group, one.kind.plural, one.verb) for one in world.cluster.double.requests}
    assert used == as_triples(gang_rights({world.runs_as}))

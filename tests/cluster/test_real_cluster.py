"""The fleet on a real API server, controller manager and scheduler: the same promises as on the double.

    KUBECONFIG=... SPRINGTIDE_CLUSTER=1 pytest tests/cluster

Makes a namespace of its own and deletes it. SPRINGTIDE_CLUSTER_IMAGE: what pods run (default: pause 3.10;
simulated nodes run nothing). SPRINGTIDE_CLUSTER_RESTART: a command that kills and restarts the API server; without it
that case is skipped.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from springtide.domain.fleet import Decision, ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet import labels
from springtide.fleet.kubernetes import KubernetesFleet
from springtide.fleet.kubernetes_api import DEPLOYMENTS, EVENTS, PODS, LightkubeApi, Resource
from springtide.fleet.kubernetes_election import Election
from springtide.runtime.clock import SystemClock

pytestmark = pytest.mark.skipif(
    not (os.environ.get("SPRINGTIDE_CLUSTER") and os.environ.get("KUBECONFIG")),
    reason="needs a cluster: set KUBECONFIG and SPRINGTIDE_CLUSTER=1",
)
NAMESPACES = Resource(group="", version="v1", plural="namespaces", kind="Namespace", is_namespaced=False)
M = ModelName("matting")
NAME = labels.worker_name("springtide", M)
IMAGE = os.environ.get("SPRINGTIDE_CLUSTER_IMAGE", "registry.k8s.io/pause:3.10")
WITHIN_S = 60.0  # a scheduler and a controller manager with their usual limits take seconds


class World:
    """A namespace with one Deployment, and the fleet that scales it."""

    def __init__(self, api: LightkubeApi) -> None:
        self.api = api
        self.fleet = KubernetesFleet(api, SystemClock(), [M], instance="springtide", may_act=lambda: True)

    async def deploy(self, **spec: Any) -> None:
        marks = labels.worker_selector("springtide", M, labels.STABLE)
        container = {
            "name": "worker",
            "image": IMAGE,
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
            **spec,
        }
        template = {
            "metadata": {"labels": marks},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
        }
        body = {"selector": {"matchLabels": marks}, "template": template}
        await self.api.apply(DEPLOYMENTS, {"metadata": {"name": NAME, "labels": marks}, "spec": body})

    async def want(self, replicas: int, idle: Sequence[WorkerId] = ()) -> None:
        decision = Decision(model=M, replicas=replicas, reason="QUEUE", message="a test")
        await self.fleet.apply(decision, drain_first=idle)

    async def running(self) -> set[WorkerId]:
        found = await self.fleet.observe()
        return {one.worker for one in found if one.phase is ReplicaPhase.RUNNING}

    async def until(self, is_so: Callable[[set[WorkerId]], bool]) -> set[WorkerId]:
        async with asyncio.timeout(WITHIN_S):
            while not is_so(found := await self.running()):
                await asyncio.sleep(0.1)
        return found

    async def brought(self, replicas: int, idle: Sequence[WorkerId] = ()) -> set[WorkerId]:
        await self.want(replicas, idle)
        return await self.until(lambda found: len(found) == replicas)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    namespace = f"springtide-test-{uuid.uuid4().hex[:8]}"
    api = LightkubeApi(manager="springtide-test", namespace=namespace)
    await api.start()
    await api.create(NAMESPACES, {"metadata": {"name": namespace}})
    one = World(api)
    await one.deploy()
    await one.fleet.start()
    await one.fleet.seen()
    await one.brought(0)
    yield one
    await one.fleet.stop(0)
    await api.delete(NAMESPACES, namespace)
    await api.stop()


async def test_the_wished_number_is_reached_from_zero_and_back(world: World) -> None:
    for replicas in (1, 5, 2, 0):
        await world.brought(replicas)
    reasons = {event["reason"] for event in (await world.api.list(EVENTS)).items}
    assert {"ScaledOut", "ScaledIn"} <= reasons


async def test_idle_pods_leave_first(world: World) -> None:
    pods = sorted(await world.brought(4))
    await _until_ready(world, 4)  # those that are not ready would go before any
    assert await world.brought(2, [pods[2], pods[0]]) == {pods[1], pods[3]}


async def test_another_apply_leaves_the_number_alone(world: World) -> None:
    await world.brought(3)
    await world.deploy(env=[{"name": "NEW", "value": "1"}])
    scale = await world.api.get(DEPLOYMENTS, NAME, subresource="scale")
    assert scale["spec"]["replicas"] == 3


async def test_a_pod_that_no_node_takes_says_why(world: World) -> None:
    limits = {"limits": {"springtide.dev/none-has-this": "1"}, "requests": {"springtide.dev/none-has-this": "1"}}
    await world.deploy(resources=limits)
    await world.want(1)
    async with asyncio.timeout(WITHIN_S):
        while not (troubles := [one.trouble for one in await world.fleet.observe() if one.trouble]):
            await asyncio.sleep(0.1)
    assert troubles[0].code == "unschedulable"
    assert "Insufficient springtide.dev/none-has-this" in troubles[0].message


async def test_an_ordered_drain_evicts_and_the_place_is_filled(world: World) -> None:
    first, second = sorted(await world.brought(2))
    await _until_ready(world, 2)
    await world.fleet.drain([first])
    found = await world.until(lambda found: first not in found and len(found) == 2)
    assert second in found


async def test_one_of_two_controllers_leads_and_the_other_follows(world: World) -> None:
    one, two = (Election(world.api, SystemClock(), lease="springtide-controller", me=me) for me in ("one", "two"))
    await one.start()
    await asyncio.wait_for(one.won(), WITHIN_S)
    await two.start()
    await asyncio.sleep(3)
    assert not two.leads
    await one.stop()
    await asyncio.wait_for(two.won(), WITHIN_S)
    await two.stop()


async def test_an_api_server_that_is_killed_and_restarted_is_outlived(world: World) -> None:
    command = os.environ.get("SPRINGTIDE_CLUSTER_RESTART")
    if command is None:
        pytest.skip("set SPRINGTIDE_CLUSTER_RESTART to a command that kills and restarts the API server")
    before = await world.brought(2)
    restarting = asyncio.create_task(asyncio.to_thread(subprocess.run, command, shell=True, check=True))
    while not restarting.done():
        assert await world.running() >= before
        await world.want(4)
        await asyncio.sleep(0.5)
    await restarting
    assert await world.brought(4) >= before


async def _until_ready(world: World, number: int) -> None:
    query = labels.as_query(labels.worker_selector("springtide", M))

    def is_ready(pod: dict[str, Any]) -> bool:
        return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))

    async with asyncio.timeout(WITHIN_S):
        while sum(map(is_ready, (await world.api.list(PODS, labels=query)).items)) < number:
            await asyncio.sleep(0.1)

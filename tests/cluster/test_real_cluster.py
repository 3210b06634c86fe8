"""The fleet on a real API server, controller manager and scheduler: the same promises as on the double, by the same
lines (conftest.py tells how to run them in a cluster)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cluster_places import LACKING, Place, Real
from lightkube.config.kubeconfig import KubeConfig

from springtide.domain.errors import SpringtideError
from springtide.domain.fleet import Decision, ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet import labels
from springtide.fleet.keda import ExternalScaler
from springtide.fleet.kubernetes import KubernetesFleet
from springtide.fleet.kubernetes_api import DEPLOYMENTS, EVENTS, PODS, SCALED_OBJECTS
from springtide.fleet.kubernetes_election import Election
from springtide.runtime.clock import SystemClock
from springtide.testing.kubernetes import SCALED_OBJECT, kubernetes_double
from springtide.testing.servers import free_port

M = ModelName("matting")
NAME = labels.worker_name("springtide", M)
IMAGE = os.environ.get("SPRINGTIDE_CLUSTER_IMAGE", "registry.k8s.io/pause:3.10")


class World:
    """One Deployment, and the fleet that scales it with the rights of the Role that is rendered."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.api = place.api
        self.fleet = KubernetesFleet(place.acting, SystemClock(), [M], instance="springtide", may_act=lambda: True)

    async def deploy(self, **spec: Any) -> None:
        """As `deploy` renders it: no replicas."""
        marks = labels.worker_selector("springtide", M, labels.STABLE)
        resources = {"requests": {"cpu": "1m", "memory": "1Mi"}}
        container = {"name": "worker", "image": IMAGE, "resources": resources, **spec}
        pod = {"containers": [container], "terminationGracePeriodSeconds": 5}
        body = {"selector": {"matchLabels": marks}, "template": {"metadata": {"labels": marks}, "spec": pod}}
        await self.api.apply(DEPLOYMENTS, {"metadata": {"name": NAME, "labels": marks}, "spec": body})

    async def want(self, replicas: int, idle: Sequence[WorkerId] = ()) -> None:
        decision = Decision(model=M, replicas=replicas, reason="QUEUE", message="a test")
        await self.fleet.apply(decision, drain_first=idle)

    async def running(self) -> set[WorkerId]:
        found = await self.fleet.observe()
        return {one.worker for one in found if one.phase is ReplicaPhase.RUNNING}

    async def until(self, is_so: Callable[[set[WorkerId]], bool]) -> set[WorkerId]:
        async with asyncio.timeout(self.place.within_s):
            while not is_so(found := await self.running()):
                await asyncio.sleep(0.02)
        return found

    async def brought(self, replicas: int, idle: Sequence[WorkerId] = ()) -> set[WorkerId]:
        await self.want(replicas, idle)
        return await self.until(lambda found: len(found) == replicas)

    async def trouble(self, code: str) -> str:
        """The message of the first of that kind."""
        async with asyncio.timeout(self.place.within_s):
            while True:
                for one in await self.fleet.observe():
                    if one.trouble is not None and one.trouble.code == code:
                        return one.trouble.message
                await asyncio.sleep(0.02)

    async def replicas(self) -> int:
        scale = await self.api.get(DEPLOYMENTS, NAME, subresource="scale")
        return int(scale["spec"].get("replicas", 0))

    async def until_ready(self, number: int) -> None:
        """Those that are not ready would leave before any idle one."""
        query = labels.as_query(labels.worker_selector("springtide", M))

        def is_ready(pod: dict[str, Any]) -> bool:
            conditions = pod.get("status", {}).get("conditions", ())
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        async with asyncio.timeout(self.place.within_s):
            while sum(map(is_ready, (await self.api.list(PODS, labels=query)).items)) < number:
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(place: Place) -> AsyncIterator[World]:
    one = World(place)
    await one.deploy()
    await one.fleet.start()
    await one.fleet.seen()
    await one.brought(0)
    yield one
    await one.fleet.stop(0)


async def test_the_wished_number_is_reached_from_zero_and_back(world: World) -> None:
    for replicas in (1, 5, 2, 0):
        await world.brought(replicas)
    async with asyncio.timeout(world.place.within_s):
        while not {"ScaledOut", "ScaledIn"} <= {one["reason"] for one in (await world.api.list(EVENTS)).items}:
            await asyncio.sleep(0.02)


async def test_idle_pods_leave_first(world: World) -> None:
    pods = sorted(await world.brought(4))
    await world.until_ready(4)
    assert await world.brought(2, [pods[2], pods[0]]) == {pods[1], pods[3]}


async def test_another_apply_leaves_the_number_alone(world: World) -> None:
    await world.brought(3)
    await world.deploy(env=[{"name": "NEW", "value": "1"}])
    assert await world.replicas() == 3


async def test_a_pod_that_no_node_takes_says_why(world: World) -> None:
    limits = {"limits": {LACKING: "1"}, "requests": {LACKING: "1"}}
    await world.deploy(resources=limits)
    await world.want(1)
    assert f"Insufficient {LACKING}" in await world.trouble("unschedulable")


async def test_a_quota_shows_as_workers_that_are_missing(world: World) -> None:
    await world.place.limit_pods(2)
    await world.want(4)
    assert "exceeded quota" in await world.trouble("quota_exceeded")
    assert len(await world.until(lambda found: len(found) == 2)) == 2


async def test_an_ordered_drain_evicts_and_the_place_is_filled(world: World) -> None:
    first, second = sorted(await world.brought(2))
    await world.until_ready(2)
    await world.fleet.drain([first])
    found = await world.until(lambda found: first not in found and len(found) == 2)
    assert second in found


async def test_one_of_two_controllers_leads_and_the_other_follows(place: Place) -> None:
    one, two = (Election(place.acting, SystemClock(), lease="springtide-controller", me=me) for me in ("one", "two"))
    await one.start()
    await asyncio.wait_for(one.won(), place.within_s)
    await two.start()
    async with asyncio.timeout(place.within_s):
        while two.holder != "one":
            await asyncio.sleep(0.02)
    assert not two.leads
    await one.stop()
    await asyncio.wait_for(two.won(), place.within_s)
    await two.stop()


async def test_an_api_server_that_is_killed_and_restarted_is_outlived(world: World) -> None:
    before = await world.brought(2)
    restarting = asyncio.create_task(world.place.restart_api())
    while not restarting.done():
        assert await world.running() >= before
        await world.want(4)
        await asyncio.sleep(0.1)
    await restarting
    assert await world.brought(4) >= before


async def test_keda_brings_what_is_wished_and_nothing_while_nothing_is_known(world: World) -> None:
    await world.place.with_keda()
    port = free_port()
    fleet = KubernetesFleet(
        world.place.acting, SystemClock(), [M], instance="springtide", may_act=lambda: True, scales=False
    )
    is_here = world.place.scaler_host == "127.0.0.1"
    scaler = ExternalScaler(fleet.wishes, f"{'127.0.0.1' if is_here else '0.0.0.0'}:{port}")
    await scaler.start()
    address = {"scalerAddress": f"{world.place.scaler_host}:{port}", "model": M, "version": labels.STABLE}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicaCount": 0,
        "maxReplicaCount": 5,
        "pollingInterval": 2,
        "cooldownPeriod": 5,
        "triggers": [{"type": "external-push", "name": "wish", "metricType": "AverageValue", "metadata": address}],
    }
    await world.api.apply(SCALED_OBJECTS, {"metadata": {"name": NAME}, "spec": spec})
    try:
        await world.place.seen_by_keda(NAME)
        for replicas in (3, 0):
            await asyncio.sleep(0.3)
            assert await world.replicas() == (0 if replicas else 3)
            fleet.wishes.tell(M, replicas)
            await world.until(lambda found, wished=replicas: len(found) == wished)
    finally:
        await world.api.delete(SCALED_OBJECTS, NAME)
        await scaler.stop()


async def test_what_a_cluster_is_given_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a cluster sees of these files, on the double: its namespace, the account, the token, the skips."""
    monkeypatch.delenv("SPRINGTIDE_CLUSTER_RESTART", raising=False)  # of a real one that this must not touch
    async with kubernetes_double() as double:
        monkeypatch.setenv("KUBECONFIG", str(double.kubeconfig(tmp_path / "config")))
        one = Real(tmp_path)
        await one.start()
        token = KubeConfig.from_file(tmp_path / "controller.kubeconfig").get().user.token
        assert token == f"{one.namespace}:controller"
        assert (await one.acting.list(PODS)).items == []
        await one.with_keda()
        await one.api.apply(
            SCALED_OBJECTS, {"metadata": {"name": NAME, "finalizers": ["finalizer.keda.sh"]}, "spec": {}}
        )
        await one.seen_by_keda(NAME)
        one.within_s = 0.2
        await one.api.apply(SCALED_OBJECTS, {"metadata": {"name": "unseen"}, "spec": {}})
        with pytest.raises(pytest.skip.Exception, match="no KEDA"):
            await one.seen_by_keda("unseen")
        double.kinds.remove(SCALED_OBJECT)
        for skipped in (one.with_keda(), one.restart_api()):
            with pytest.raises(pytest.skip.Exception):
                await skipped
        await one.stop()
        assert [each["metadata"]["name"] for each in double.all("Namespace")] == ["default"]


async def test_who_may_only_scale_may_do_nothing_else(world: World) -> None:
    """In a cluster by the API server's own authorization; the double grants all."""
    if world.place.namespace == "default":
        pytest.skip("the double authorizes all or one")
    for attempt in (
        world.place.acting.merge(DEPLOYMENTS, NAME, {"spec": {"paused": True}}),
        world.place.acting.delete(DEPLOYMENTS, NAME),
    ):
        with pytest.raises(SpringtideError, match="forbidden"):
            await attempt

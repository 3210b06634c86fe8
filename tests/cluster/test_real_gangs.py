"""Distributed jobs on Kubeflow's real operators: an object for each attempt, a lost pod is the end of all of it.

The object is of a template of its own, whose pods run what the other scenarios run: it needs no image of Springtide's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from cluster_places import Place
from test_real_cluster import IMAGE

from springtide.domain.ids import ModelName, TenantId, WorkerId
from springtide.domain.lease import Lease, Payload
from springtide.fleet.gang_objects import RESOURCES
from springtide.fleet.gangs import GangPhase, GangPods, GangShape, GangView, Runs
from springtide.fleet.kubernetes_api import EVENTS, PODS, LightkubeApi
from springtide.fleet.pytorchjob import POD_LABELS, ClusterGangs
from springtide.fleet.rights import gang_rights
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_job_id

FILM = ModelName("film")
HEAD = """
metadata: {name: {{ name | yaml }}, labels: {{ labels | yaml }}, annotations: {{ annotations | yaml }}}
"""
TEMPLATES = {
    Runs.PYTORCHJOB: "apiVersion: kubeflow.org/v1\nkind: PyTorchJob"
    + HEAD
    + """
{% macro replica(count) %}
{replicas: {{ count }}, restartPolicy: Never, template: {spec: {containers: [
  {name: pytorch, image: IMAGE, env: {{ env | yaml }}, ports: [{name: pytorchjob-port, containerPort: 23456}]}]}}}
{%- endmacro %}
spec:
  runPolicy: {cleanPodPolicy: Running, backoffLimit: 0}
  pytorchReplicaSpecs: {Master: {{ replica(1) }}, Worker: {{ replica(processes - 1) }}}
""",
    Runs.TRAINJOB: "apiVersion: trainer.kubeflow.org/v1alpha1\nkind: TrainJob"
    + HEAD
    + """
spec:
  runtimeRef: {apiGroup: trainer.kubeflow.org, kind: ClusterTrainingRuntime, name: torch-distributed}
  trainer: {image: IMAGE, command: [/pause], numNodes: {{ processes }}, env: {{ env | yaml }}}
""",
}


class World:
    """A worker's gangs of two ranks."""

    def __init__(self, place: Place, api: LightkubeApi, folder: Path, runs_as: Runs) -> None:
        """api: with a launcher's rights; the gangs open and close it."""
        self.place = place
        self.runs_as = runs_as
        file = folder / "gang.yaml.j2"
        file.write_text(TEMPLATES[runs_as].replace("IMAGE", IMAGE))
        given, shape = GangPods(template=str(file)), GangShape(processes=2)
        worker = WorkerId("film-1")
        clock = SystemClock()
        self.gangs = ClusterGangs(api, FILM, worker, shape=shape, given=given, runs_as=runs_as, clock=clock)

    async def running(self) -> GangView:
        lease = Lease(
            id=new_job_id(),
            model=FILM,
            tenant=TenantId("t"),
            worker=WorkerId("film-1"),
            attempt=1,
            max_attempts=3,
            payload=msgspec.msgpack.encode(Payload(inputs={"prompt": "{{ x }} $(HOME)\n- a: b"})),
            timeout_s=60.0,
            enqueued_at_s=0.0,
        )
        return await self.becomes(await self.gangs.start(lease), GangPhase.RUNNING)

    async def becomes(self, view: GangView, phase: GangPhase) -> GangView:
        async with asyncio.timeout(self.place.within_s):
            while view.phase is not phase:
                view = await self.gangs.change(view)
        return view

    async def pods(self, gang: str) -> list[str]:
        found = await self.place.api.list(PODS, labels=f"{POD_LABELS[self.runs_as]}={gang}")
        return sorted(one["metadata"]["name"] for one in found.items)


@pytest.fixture(params=[Runs.PYTORCHJOB, Runs.TRAINJOB])
async def world(place: Place, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    await place.with_operator(request.param, RESOURCES[request.param])
    api = await place.account("launcher", gang_rights({request.param}))
    one = World(place, api, tmp_path, request.param)
    await one.gangs.open()
    yield one
    await one.gangs.close()


async def test_a_gang_runs_and_is_gone_when_it_is_stopped(world: World) -> None:
    view = await world.running()
    assert len(await world.pods(view.name)) == 2
    await world.gangs.stop(view.name)
    assert await world.pods(view.name) == []
    assert await world.gangs.list() == []
    async with asyncio.timeout(world.place.within_s):
        while not {"Started", "Deleted"} <= {one["reason"] for one in (await world.place.api.list(EVENTS)).items}:
            await asyncio.sleep(0.02)


async def test_a_lost_pod_is_the_end_of_the_gang_though_the_operator_makes_another(world: World) -> None:
    view = await world.running()
    *_, last = await world.pods(view.name)
    await world.place.api.delete(PODS, last)
    error = (await world.becomes(view, GangPhase.FAILED)).error
    assert error is not None
    assert error.retryable
    await world.gangs.stop(view.name)


async def test_what_a_worker_left_behind_is_found_by_another(world: World) -> None:
    view = await world.running()
    assert [(one.name, one.worker) for one in await world.gangs.list()] == [(view.name, "film-1")]
    await world.gangs.stop(view.name)

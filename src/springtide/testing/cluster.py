"""A cluster for tests: the double, a client of it with the controller's rights, and a clock that only tests move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from springtide.domain.ids import ModelName
from springtide.fleet import labels
from springtide.fleet.kubernetes_api import LightkubeApi
from springtide.fleet.rights import CONTROLLER, as_triples
from springtide.testing.clock import ManualClock
from springtide.testing.kubernetes import KubernetesDouble, kubernetes_double

T = TypeVar("T")
M = ModelName("m")
PATIENCE_S = 60.0  # of real time, for what takes milliseconds where nothing else is done


class Cluster:
    """One cluster, as one controller sees it."""

    def __init__(self, double: KubernetesDouble, api: LightkubeApi, kubeconfig: Path) -> None:
        self.double = double
        self.api = api
        self.kubeconfig = kubeconfig
        self.clock = ManualClock()

    def pod(self, name: str) -> None:
        """By itself, with the label app=m."""
        spec = {"containers": [{"name": "worker"}]}
        self.double.create({"kind": "Pod", "metadata": {"name": name, "labels": {"app": "m"}}, "spec": spec})

    def deployment(self, model: str = M, replicas: int = 0) -> str:
        """As `deploy` renders it, as far as the fleet looks. Returns its name."""
        name = labels.worker_name("springtide", model)
        marks = labels.worker_selector("springtide", model, labels.STABLE)
        template = {
            "metadata": {"labels": marks},
            "spec": {"containers": [{"name": "worker"}], "terminationGracePeriodSeconds": 600},
        }
        spec: dict[str, Any] = {"selector": {"matchLabels": marks}, "template": template, "replicas": replicas}
        annotations = {labels.MODEL_ANNOTATION: model}
        metadata = {"name": name, "labels": marks, "annotations": annotations}
        self.double.create({"kind": "Deployment", "metadata": metadata, "spec": spec})
        return name

    def replicas(self, model: str = M) -> int:
        """As its Deployment wants."""
        return int(self.double.get("Deployment", labels.worker_name("springtide", model))["spec"]["replicas"])

    def pods(self, model: str = M) -> list[str]:
        """Names of those that stay, oldest first."""
        found = self.double.cluster.pods(labels.worker_name("springtide", model))
        return [pod["metadata"]["name"] for pod in found if not pod["metadata"].get("deletionTimestamp")]

    async def watched(self, plural: str, *, times: int = 1) -> None:
        """Wait until somebody has begun to watch these so often."""
        async with asyncio.timeout(PATIENCE_S):
            while self.double.count(verb="watch", plural=plural) < times:  # noqa: ASYNC110 - any of many things may end it
                await asyncio.sleep(0.001)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let time pass until it is so."""

        async def look() -> None:
            while not is_so():  # noqa: ASYNC110 - any of many things may end it
                await asyncio.sleep(0.001)

        await self.passing(look())

    async def passing(self, doing: Awaitable[T]) -> T:
        """Let the clock go while this is done."""
        task = asyncio.ensure_future(doing)
        async with asyncio.timeout(PATIENCE_S):
            while not task.done():
                await asyncio.sleep(0.002)
                await self.clock.advance(0.5)
        return await task


@contextlib.asynccontextmanager
async def cluster_world(folder: Path) -> AsyncGenerator[Cluster]:
    async with kubernetes_double() as double:
        double.rights = as_triples(CONTROLLER)
        kubeconfig = double.kubeconfig(folder / "kubeconfig")
        api = LightkubeApi(manager="springtide", kubeconfig=kubeconfig)
        await api.start()
        try:
            yield Cluster(double, api, kubeconfig)
        finally:
            await api.stop()

"""Every fleet does the same: processes of this machine, and pods."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.domain.fleet import ReplicaPhase
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.kubernetes import KubernetesFleet
from springtide.fleet.local import Launch, LocalFleet
from springtide.runtime.clock import SystemClock
from springtide.testing.cluster import Cluster, cluster_world
from springtide.testing.fleet_suite import ONE, TWO, FleetContract


class Local:
    """Processes that do nothing but live."""

    def __init__(self) -> None:
        numbers = itertools.count(1)
        self.fleet = LocalFleet(
            lambda model, worker: Launch(["/bin/cat"]),
            lambda model: WorkerId(f"{model}-{next(numbers)}"),
            self._gone,
            SystemClock(),
        )

    async def _gone(self, model: ModelName, worker: WorkerId) -> None: ...

    async def settle(self) -> None:
        while any(one.phase is ReplicaPhase.DRAINING for one in await self.fleet.observe()):
            await asyncio.sleep(0.002)


class InCluster:
    """Pods of the double."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        for model in (ONE, TWO):
            cluster.deployment(model)
        self.fleet = KubernetesFleet(
            cluster.api, SystemClock(), [ONE, TWO], instance="springtide", may_act=lambda: True
        )

    async def settle(self) -> None:
        """The fleet has acted, and seen what came of it."""
        async with asyncio.timeout(60):
            while self.fleet._acts or self.fleet._errands or not await self._has_seen_all():
                await asyncio.sleep(0.002)

    async def _has_seen_all(self) -> bool:
        seen = {one.worker for one in await self.fleet.observe()}
        return seen == {WorkerId(name) for model in (ONE, TWO) for name in self.cluster.pods(model)}


class TestLocalFleet(FleetContract):
    @pytest.fixture
    async def yard(self) -> AsyncIterator[Local]:
        one = Local()
        await one.fleet.start()
        yield one
        await one.fleet.stop(10)


class TestKubernetesFleet(FleetContract):
    @pytest.fixture
    async def yard(self, tmp_path: Path) -> AsyncIterator[InCluster]:
        async with cluster_world(tmp_path) as cluster:
            one = InCluster(cluster)
            await one.fleet.start()
            await one.fleet.seen()
            yield one
            await one.fleet.stop(10)

"""A controller in a cluster, put together as `springtide controller` does: one leads, the other takes over."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from springtide.broker.memory import MemoryBroker
from springtide.cli import scaled
from springtide.cli.cluster import cluster_scaling
from springtide.config import Config
from springtide.controller.scaler import Scaler
from springtide.controller.signals import Signals
from springtide.domain.errors import ConfigError
from springtide.fleet import externalscaler_pb2 as wire
from springtide.fleet.protocol import Fleet
from springtide.ledger.sql import SqlLedger
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_job_id
from springtide.testing.broker_cases import ticket
from springtide.testing.cluster import Cluster, M, cluster_world
from springtide.testing.servers import free_port


class World:
    """A cluster with one model, a broker and a ledger."""

    def __init__(self, cluster: Cluster, ledger: SqlLedger) -> None:
        self.cluster = cluster
        self.ledger = ledger
        self.broker = MemoryBroker()
        self.clock = SystemClock()

    def config(self, **kubernetes: object) -> Config:
        return Config(
            broker={"url": "redis://127.0.0.1:1"},
            fleet={"kind": "kubernetes"},
            kubernetes={"namespace": "default", **kubernetes},
            models={M: {"engine": "synthetic", "max_replicas": 3, "idle_s": 0, "scaling": {"policies": ["backlog"]}}},
        )

    @contextlib.asynccontextmanager
    async def controller(self, **kubernetes: object) -> AsyncIterator[None]:
        config = self.config(**kubernetes)

        def new_scaler(fleet: Fleet) -> Scaler:
            signals = Signals(self.broker, fleet, self.ledger.history, self.clock, pools=scaled.scaled(config))
            return Scaler(signals, fleet, self.ledger.history, scaled.policies(config), self.clock)

        async with cluster_scaling(config, self.broker, self.ledger.history, self.clock, new_scaler):
            yield

    async def submit(self, jobs: int) -> None:
        now_s = self.clock.now_s()
        tickets = [ticket(new_job_id(), id=new_job_id(), model=M, enqueued_at_s=now_s) for _ in range(jobs)]
        await self.broker.enqueue(tickets, now_s)

    async def replicas(self, wanted: int) -> None:
        async with asyncio.timeout(60):
            while self.cluster.replicas() != wanted:
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}")
    await ledger.start()
    async with cluster_world(tmp_path) as cluster:
        monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
        cluster.deployment(M)
        world = World(cluster, ledger)
        await world.broker.start()
        yield world
        await world.broker.stop()
    await ledger.stop()


async def test_jobs_that_wait_bring_pods_which_outlive_the_controller(world: World) -> None:
    async with world.controller():
        await world.submit(6)
        await world.replicas(3)
        assert world.cluster.double.get("Lease", "springtide-controller")["spec"]["leaseTransitions"] == 0
    assert len(world.cluster.pods()) == 3


async def test_the_second_controller_goes_on_where_the_first_has_stopped(world: World) -> None:
    async with world.controller():
        await world.submit(2)
        await world.replicas(1)
        async with contextlib.AsyncExitStack() as second:
            await second.enter_async_context(world.controller())
            await asyncio.sleep(0)
            assert world.cluster.replicas() == 1
    async with world.controller():
        await world.submit(2)
        await world.replicas(2)
    lease = world.cluster.double.get("Lease", "springtide-controller")["spec"]
    assert (lease["holderIdentity"], lease["leaseTransitions"]) == ("", 1)


async def test_where_keda_scales_it_is_told_and_the_scale_is_not_written(world: World) -> None:
    port = free_port()
    async with (
        world.controller(scaling="keda", keda={"listen": f"127.0.0.1:{port}"}),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        ask = channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamIsActive",
            lambda message: message.SerializeToString(),
            wire.IsActiveResponse.FromString,
        )
        stream = ask(wire.ScaledObjectRef(name="m", namespace="default", scalerMetadata={"model": M}))
        async with asyncio.timeout(60):
            await world.submit(6)
            while not (await stream.read()).result:
                pass  # nothing was wished before
        stream.cancel()
        assert world.cluster.replicas() == 0


async def test_pods_need_a_broker_that_they_can_reach(world: World) -> None:
    config = world.config().model_copy(update={"broker": Config().broker})
    with pytest.raises(ConfigError, match="memory://"):
        async with cluster_scaling(config, world.broker, world.ledger.history, world.clock, lambda fleet: None):  # type: ignore[arg-type,return-value]
            pass


def test_a_laptop_loads_nothing_of_this() -> None:
    """Kubernetes and gRPC cost 45 MB and a third of a second of processor."""
    modules = ("main", "gateway_main", "controller_main", "cluster", "worker_main", "up")
    roles = ", ".join(f"springtide.cli.{module}" for module in modules)
    look = f"import sys, {roles}, springtide.fleet.local; print({{m.partition('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not {"lightkube", "httpx2", "grpc", "google", "yaml", "jinja2"} & ast.literal_eval(done.stdout)

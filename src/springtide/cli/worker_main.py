"""A worker's process. It is told what to do in one value, so it loads neither the configuration nor the command line:
that halves its memory and takes half a second off every scale-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.cli.patience import keep_once_there, started
from springtide.cli.process import set_up_logging
from springtide.cli.watched import not_ready, relayed, shown
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet.gangs import Runs
from springtide.runtime.clock import SystemClock
from springtide.runtime.memory import settle
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_exposition import Exposition
from springtide.telemetry.settings import TelemetrySettings
from springtide.worker.settings import WorkerSettings
from springtide.worker.temporary import own_temporary_folder

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.blobs.s3_place import S3Keys
    from springtide.broker.protocol import Broker
    from springtide.fleet.gangs import Gangs
    from springtide.worker.host import Host
    from springtide.worker.service import Worker

log = logging.getLogger(__name__)
VARIABLE = "SPRINGTIDE_WORKER"  # a variable, not an argument: arguments are shown to everybody, and URLs hold passwords


class BrokerAddress(msgspec.Struct, frozen=True):
    """How a process other than the gateway reaches the broker."""

    url: str  # memory:// or a server's
    socket_path: str  # of the embedded one
    models: tuple[ModelName, ...]


class BlobsAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where blobs are, with the keys where any are set."""

    url: str  # file:///folder or s3://bucket/prefix
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    public_endpoint: str | None = None


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker needs to know."""

    id: WorkerId
    succeeds: bool = False  # a process of this id may have died here before: what it held is given back first
    name: str  # of the model, or of the pool
    models: tuple[WorkerSettings, ...]
    memory_mb: int | None = None  # that its models share; None: one model, always loaded
    broker: BrokerAddress
    blobs: BlobsAddress
    telemetry: TelemetrySettings = TelemetrySettings()
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None  # the first to try; None: not embedded, nobody is told

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return msgspec.json.encode(self, enc_hook=str).decode()

    @classmethod
    def from_json(cls, text: str) -> WorkerSpec:
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))


def connect(address: BrokerAddress) -> Broker:
    """The broker's client, not started."""
    if address.url.startswith("memory://"):
        from springtide.broker.remote import RemoteBroker

        return RemoteBroker(Path(address.socket_path))
    from springtide.broker.redis import RedisBroker

    consumer = f"{socket.gethostname()}-{os.getpid()}"
    return RedisBroker(address.url, address.models, consumer=consumer)


def blob_store(address: BlobsAddress) -> Blobs:
    """The store, not started. Raises ConfigError for a wrong URL."""
    if not address.url.startswith("s3://"):
        from springtide.blobs.files import FileBlobs

        return FileBlobs(Path(address.url.removeprefix("file://")))
    from springtide.blobs.s3 import S3Blobs

    return S3Blobs(address.url, keys=s3_keys(address), public_endpoint=address.public_endpoint)


def s3_keys(address: BlobsAddress) -> S3Keys | None:
    """The keys where any are set; None: what the AWS tools would find."""
    from springtide.blobs.s3_place import S3Keys

    if address.access_key_id is None or address.secret_access_key is None:
        return None
    return S3Keys(
        access_key_id=address.access_key_id,
        secret_access_key=address.secret_access_key,
        session_token=address.session_token,
    )


async def run_worker(spec: WorkerSpec, stop: asyncio.Event) -> None:
    """Run jobs until `stop`, then drain."""
    set_up_logging(f"worker {spec.name}", spec.telemetry)
    broker = connect(spec.broker)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(own_temporary_folder(spec.id))
        blobs = await keep_once_there(stack, blob_store(spec.blobs), "blob store", stop)
        await stack.enter_async_context(started(broker, "broker", stop))
        if spec.succeeds:
            await _give_back(spec, broker)
        metrics = Metrics()
        worker = _worker(spec, broker, blobs, metrics)
        await stack.enter_async_context(relayed(metrics, broker, f"worker {spec.id}"))
        exposition, host = Exposition(metrics, SystemClock()), spec.metrics_host
        await stack.enter_async_context(shown(exposition, host, spec.metrics_port, is_ready=lambda: not_ready(worker)))

        async def drain_on_stop() -> None:
            await stop.wait()
            worker.drain()

        watcher = asyncio.create_task(drain_on_stop())
        settle()
        try:
            await worker.run()
        finally:
            watcher.cancel()


async def _give_back(spec: WorkerSpec, broker: Broker) -> None:
    """What an earlier container of this pod held: it is dead, and nobody need wait for its leases to end."""
    for one in spec.models:
        try:
            await broker.leave(one.model, spec.id, SystemClock().now_s())
        except (Unavailable, OutcomeUnknown) as error:  # they end by themselves
            log.debug("what %s held before waits for its lease: %s", spec.id, error)


def _worker(spec: WorkerSpec, broker: Broker, blobs: Blobs, metrics: Metrics) -> Worker | Host:
    from springtide.worker.usage import Meter

    clock = SystemClock()
    parts: Any = {"worker_id": spec.id, "broker": broker, "blobs": blobs, "clock": clock, "metrics": metrics}
    if spec.memory_mb is None:
        from springtide.worker.service import Worker

        [settings] = spec.models
        meter = Meter(cpus=settings.cpus, memory_mb=settings.memory_limit_mb)
        return Worker(settings, **parts, measure=meter, gangs=_gangs(spec, settings))
    from springtide.worker.host import Host

    return Host(spec.models, spec.memory_mb, **parts, measure=Meter(memory_mb=spec.memory_mb))


def _gangs(spec: WorkerSpec, settings: WorkerSettings) -> Gangs | None:
    """Of a distributed model."""
    shape = settings.gang
    if shape is None or settings.groups_folder is None:
        return None
    if settings.runs_as is Runs.PROCESSES:
        from springtide.fleet.processes import LocalGangs

        argv, told = (sys.executable, "-m", "springtide", "rank"), {VARIABLE: spec.to_json()}
        return LocalGangs(settings.groups_folder, spec.id, shape, argv=argv, clock=SystemClock(), **told)
    from springtide.fleet.gangs import GangPods
    from springtide.fleet.kubernetes_api import LightkubeApi
    from springtide.fleet.pytorchjob import ClusterGangs

    given = settings.gang_pods or GangPods()
    api = LightkubeApi(manager="springtide-worker")
    return ClusterGangs(
        api, settings.model, spec.id, shape=shape, given=given, runs_as=settings.runs_as, clock=SystemClock()
    )


def main() -> None:
    """A worker started by the local fleet."""
    from springtide.cli.process import run_role

    spec = WorkerSpec.from_json(os.environ.pop(VARIABLE))
    sys.exit(run_role(f"worker {spec.name}", lambda stop: run_worker(spec, stop), supervised=True))

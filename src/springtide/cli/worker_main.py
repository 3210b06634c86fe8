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
from typing import TYPE_CHECKING

import msgspec

from springtide.domain.errors import Unavailable
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.clock import SystemClock
from springtide.runtime.memory import settle
from springtide.worker.settings import WorkerSettings

if TYPE_CHECKING:
    from springtide.broker.protocol import Broker

log = logging.getLogger(__name__)
VARIABLE = "SPRINGTIDE_WORKER"  # a variable, not an argument: arguments are shown to everybody, and URLs hold passwords


class BrokerAddress(msgspec.Struct, frozen=True):
    """How a process other than the gateway reaches the broker."""

    url: str  # memory:// or a server's
    socket_path: str  # of the embedded one
    models: tuple[ModelName, ...]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker needs to know."""

    id: WorkerId
    settings: WorkerSettings
    broker: BrokerAddress
    blobs_folder: Path

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


async def run_worker(spec: WorkerSpec, stop: asyncio.Event) -> None:
    """Run jobs of one model until `stop`, then drain."""
    from springtide.blobs.files import FileBlobs
    from springtide.worker.service import Worker

    broker = connect(spec.broker)
    blobs = FileBlobs(spec.blobs_folder)
    await blobs.start()
    await _start_patiently(broker, stop)
    worker = Worker(spec.settings, worker_id=spec.id, broker=broker, blobs=blobs, clock=SystemClock())

    async def drain_on_stop() -> None:
        await stop.wait()
        worker.drain()

    watcher = asyncio.create_task(drain_on_stop())
    settle()
    try:
        await worker.run()
    finally:
        watcher.cancel()
        await broker.stop()
        await blobs.stop()


def main() -> None:
    """A worker started by the local fleet."""
    from springtide.cli.process import run_role

    spec = WorkerSpec.from_json(os.environ.pop(VARIABLE))
    sys.exit(run_role(f"worker {spec.settings.model}", lambda stop: run_worker(spec, stop), supervised=True))


async def _start_patiently(broker: Broker, stop: asyncio.Event) -> None:
    """A worker may be up before its broker is."""
    while True:
        try:
            return await broker.start()
        except Unavailable as error:
            if stop.is_set():
                raise
            log.info("waiting for the broker: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)

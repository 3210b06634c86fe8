"""How each process shows what it counts: on a port of its own, over the embedded broker's socket, or both."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from springtide.runtime.clock import SystemClock

if TYPE_CHECKING:
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.telemetry.metrics import Metrics
    from springtide.telemetry.metrics_exposition import Exposition
    from springtide.worker.host import Host
    from springtide.worker.service import Worker


@contextlib.asynccontextmanager
async def shown_as(config: Config, exposition: Exposition) -> AsyncGenerator[None]:
    """The same as the configuration says."""
    async with shown(exposition, config.telemetry.metrics_host, config.telemetry.metrics_port):
        yield


@contextlib.asynccontextmanager
async def shown(
    exposition: Exposition, host: str, port: int | None, *, is_ready: Callable[[], str | None] = lambda: None
) -> AsyncGenerator[None]:
    """The listener beside the block, where a port is configured. Raises ConfigError."""
    if port is None:
        yield
        return
    from springtide.telemetry.metrics_listener import Listener

    listener = Listener(exposition, host, port, is_ready=is_ready)
    await listener.start()
    try:
        yield
    finally:
        await listener.stop()


@contextlib.asynccontextmanager
async def relayed(metrics: Metrics, broker: Broker, source: str) -> AsyncGenerator[None]:
    """What this process counts is told to the one that holds the embedded broker, where it is embedded."""
    from springtide.broker.remote import RemoteBroker

    if not isinstance(broker, RemoteBroker):
        yield
        return
    from springtide.telemetry.metrics import MetricsBoard
    from springtide.telemetry.metrics_relay import Relay

    relay = Relay(metrics, broker.beside(MetricsBoard), source, SystemClock())
    await relay.start()
    try:
        yield
    finally:
        await relay.stop()


def not_ready(worker: Worker | Host) -> str | None:
    """Why a worker could run no job now; None where it could. One that is busy is ready; a host's models that are
    unloaded are loaded when there is work."""
    from springtide.domain.lease import WorkerState
    from springtide.worker.service import Worker

    workers = [worker] if isinstance(worker, Worker) else list(worker.workers.values())
    up = {WorkerState.READY, WorkerState.BUSY, WorkerState.UNLOADED}
    states = sorted({one.state for one in workers})
    return None if up & set(states) else ", ".join(states)

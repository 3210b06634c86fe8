"""The processes that scale: the controller, and `springtide up` with workers of its own machine.

Where the broker is embedded, the fleet's past, operators' orders and rollouts are asked of the gateway's process, which
has the ledger; else they are read from the ledger here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from springtide.cli import build, watched
from springtide.cli.patience import keep, keep_once_there, started
from springtide.cli.process import set_up_logging
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.clock import SystemClock

if TYPE_CHECKING:
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.controller.scaler import Scaler
    from springtide.fleet.local import LocalFleet
    from springtide.fleet.protocol import Fleet
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.rollouts import Rollouts
    from springtide.ledger.sql import SqlLedger
    from springtide.telemetry.metrics import Metrics

SCALER = "scaler"  # who tells the gateway of `springtide up` what the fleet does


async def run_controller(config: Config, stop: asyncio.Event) -> None:
    """Record, reap, sweep (unless the embedded gateway does), and keep workers as the load asks."""
    set_up_logging("controller", build.telemetry(config))
    broker = build.client_broker(config)
    async with started(broker, "broker", stop), scaled_fleet(config, broker, stop, keeps_record=True):
        await stop.wait()


@contextlib.asynccontextmanager
async def scaled_fleet(
    config: Config, broker: Broker, stop: asyncio.Event, *, keeps_record: bool
) -> AsyncGenerator[None]:
    """The fleet and its scaler beside the block; leaving drains every worker of this machine. keeps_record: also what
    stands beside the ledger, unless the gateway has that with the embedded broker."""
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.rollouts import Rollouts
    from springtide.telemetry.metrics import Metrics
    from springtide.telemetry.metrics_exposition import Exposition

    clock, metrics = SystemClock(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        if build.is_embedded(config):
            history, book = build.beside(broker, FleetHistory), build.beside(broker, OrderBook)
            rollouts = build.beside(broker, Rollouts)
            await stack.enter_async_context(watched.relayed(metrics, broker, SCALER))
        else:
            await stack.enter_async_context(watched.shown_as(config, Exposition(metrics, clock)))
            ledger = await keep_once_there(stack, build.ledger(config), "ledger", stop)
            history, book, rollouts = ledger.history, ledger.orders, ledger.rollouts
            if keeps_record:
                await _keep_record(stack, config, broker, ledger, stop=stop, clock=clock, metrics=metrics)
        await stack.enter_async_context(
            _scaling(config, broker, history, clock, book=book, rollouts=rollouts, metrics=metrics)
        )
        yield


async def _keep_record(
    stack: contextlib.AsyncExitStack,
    config: Config,
    broker: Broker,
    ledger: SqlLedger,
    *,
    stop: asyncio.Event,
    clock: SystemClock,
    metrics: Metrics,
) -> None:
    from springtide.cli.record_keeping import record_keeping, retention

    blobs = await keep_once_there(stack, build.blobs(config), "blob store", stop)
    await stack.enter_async_context(record_keeping(config, broker, ledger, blobs=blobs, clock=clock, metrics=metrics))
    await keep(stack, retention(config, ledger, blobs, clock))


@contextlib.asynccontextmanager
async def _scaling(
    config: Config,
    broker: Broker,
    history: FleetHistory,
    clock: SystemClock,
    *,
    book: OrderBook,
    rollouts: Rollouts,
    metrics: Metrics,
) -> AsyncGenerator[None]:
    from springtide.cli import scaled
    from springtide.controller.fleet_figures import FleetFigures
    from springtide.controller.scaler import Scaler
    from springtide.controller.signals import Signals

    floors = scaled.floors(config, rollouts, clock)

    def new_scaler(fleet: Fleet) -> Scaler:
        pools = scaled.scaled(config)
        figures = FleetFigures(metrics, {name: pool.share for name, pool in pools.items() if pool.share is not None})
        signals = Signals(broker, fleet, history, clock, pools=pools, metrics=metrics)
        parts: Any = {"sharing": scaled.sharing(config), "book": book, "figures": figures, "floors": floors}
        return Scaler(signals, fleet, history, scaled.policies(config), clock, **parts)

    async with contextlib.AsyncExitStack() as stack:
        await keep(stack, floors)
        if config.fleet.kind == "kubernetes":
            from springtide.cli.cluster import cluster_scaling

            await stack.enter_async_context(cluster_scaling(config, broker, history, clock, new_scaler))
        else:
            fleet = _local_fleet(config, broker, clock)
            await fleet.start()
            stack.push_async_callback(fleet.stop, build.longest_leave_s(config))
            await keep(stack, new_scaler(fleet))
        yield


def _local_fleet(config: Config, broker: Broker, clock: SystemClock) -> LocalFleet:
    from springtide.cli import scaled
    from springtide.cli.worker_main import VARIABLE
    from springtide.cli.worker_specs import worker_spec
    from springtide.fleet.devices import VARIABLE as DEVICES_VARIABLE
    from springtide.fleet.devices import Devices
    from springtide.fleet.local import Launch, LocalFleet
    from springtide.runtime.ids import new_worker_id

    pools = build.pools(config)

    there = config.fleet.accelerators
    devices = None if there is None else Devices(there, os.environ.get(DEVICES_VARIABLE))

    def launch(model: ModelName, worker: WorkerId) -> Launch:
        spec = worker_spec(config, model, worker).to_json()
        shown = {} if devices is None else devices.lend(worker, scaled.takes(config, model)["accelerators"])
        what = "--pool" if model in pools else "--model"
        argv = (sys.executable, "-m", "springtide", "worker", what, model, "--id", worker)
        return Launch(argv, {VARIABLE: spec, **shown})

    async def on_gone(name: ModelName, worker: WorkerId) -> None:
        if devices is not None:
            devices.give_back(worker)
        for model in pools.get(name, (name,)):
            await broker.leave(model, worker, clock.now_s())

    return LocalFleet(launch, new_worker_id, on_gone, clock)

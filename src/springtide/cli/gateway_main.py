"""The gateway's process.

Embedded (`memory://`), it also holds the broker and the loops that stand beside the ledger, so that one process writes
the SQLite file. With Redis and PostgreSQL every role is a process of its own, as many as wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from springtide.cli import build, exposure, folder, served, watched
from springtide.cli.listening import listen, url_of
from springtide.cli.patience import keep, keep_once_there, started
from springtide.cli.process import set_up_logging
from springtide.cli.record_keeping import kept_of, record_keeping, retention
from springtide.runtime.clock import SystemClock

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.gateway.heard_ends import HeardEnds
    from springtide.gateway.keyring import Keyring
    from springtide.gateway.services import GatewayServices
    from springtide.ledger.sql import SqlLedger
    from springtide.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
GATEWAY_VARIABLE = "SPRINGTIDE_GATEWAY"  # set for the gateway that `springtide up` keeps
STOP_GRACE_S = 3.0  # open connections at shutdown: long enough for an answer under way, not for an event stream


def main() -> None:
    """The gateway as `springtide up` starts it."""
    from springtide.cli.process import run_role

    os.environ.pop(GATEWAY_VARIABLE, None)
    parted = asyncio.Event()

    async def gateway(stop: asyncio.Event) -> None:
        await run_gateway(build.load(), stop, with_controller=True, parted=parted)

    sys.exit(run_role("gateway", gateway, supervised=True, parted=parted))


async def run_gateway(
    config: Config, stop: asyncio.Event, *, with_controller: bool, parted: asyncio.Event | None = None
) -> None:
    """Serve HTTP until `stop`. Says where on standard output, as one JSON line, once it answers.

    parted: set when `springtide up` lets go, later than `stop`: in between no job is taken in, and workers report.
    """
    from springtide.gateway.app import create_app
    from springtide.gateway.context import exposition_of_app
    from springtide.gateway.fronting import Fronting
    from springtide.gateway.heard_ends import HeardEnds
    from springtide.gateway.openai.service import openai_of_app
    from springtide.gateway.server import serve
    from springtide.telemetry.metrics import Metrics

    clock, closing = SystemClock(), stop if parted is None else parted
    ends = HeardEnds(are_all=build.is_embedded(config))
    metrics = Metrics()
    folder.make(config.server.data_dir)
    set_up_logging("gateway", build.telemetry(config))
    async with contextlib.AsyncExitStack() as stack:
        if build.is_embedded(config):
            taken = folder.taken_by_gateway(config.server.data_dir, supervised=parted is not None)
            await stack.enter_async_context(taken)
        listener = stack.enter_context(listen(config.server.host, config.server.port))
        ledger = await keep_once_there(stack, build.ledger(config), "ledger", stop)
        exposure.check(config, keyring := await keep(stack, exposure.keyring(ledger, clock)))
        blobs = await keep_once_there(stack, build.blobs(config), "blob store", stop)
        parts: Any = {"blobs": blobs, "clock": clock, "metrics": metrics}
        if build.is_embedded(config):
            broker = await stack.enter_async_context(_embedded(config, ledger, ends=ends, **parts))
        else:
            await stack.enter_async_context(started(broker := build.client_broker(config), "broker", stop))
            if with_controller:
                kept = record_keeping(config, broker, ledger, on_ends=ends.tell, **parts)
                await stack.enter_async_context(kept)
        if with_controller or build.is_embedded(config):
            await keep(stack, retention(config, ledger, blobs, clock))
        own = await _services(stack, config, ledger, keyring=keyring, broker=broker, ends=ends, **parts)
        app = create_app(own := dataclasses.replace(own, stopping=stop, closing=closing))
        await keep(stack, own.routing)
        await keep(stack, openai_of_app(app).driver)
        await stack.enter_async_context(watched.shown_as(config, exposition_of_app(app)))
        stack.enter_context(folder.announced(config.server.data_dir, url := url_of(listener)))
        if parted is not None:
            await stack.enter_async_context(_linger(stop, parted, build.longest_leave_s(config)))
        await serve(
            app,
            listener,
            closing,
            grace_s=STOP_GRACE_S,
            on_ready=lambda: _say({"ready": url}),
            fronting=Fronting if config.server.front else None,
        )


async def _services(
    stack: contextlib.AsyncExitStack,
    config: Config,
    ledger: SqlLedger,
    *,
    keyring: Keyring,
    broker: Broker,
    blobs: Blobs,
    clock: SystemClock,
    ends: HeardEnds,
    metrics: Metrics,
) -> GatewayServices:
    """What the gateway is built from; what of it is to be started is, and stopped with `stack`."""
    from springtide.gateway.services import GatewayServices
    from springtide.media.inspector import Inspector

    return GatewayServices(
        ledger=ledger,
        history=ledger.history,
        keyring=keyring,
        batches=ledger.batches,
        link_key=await _link_key(ledger),
        webhooks=ledger.webhooks,
        openai=ledger.openai,
        orders=ledger.orders,
        metering=await keep(stack, exposure.metering(config, ledger, clock)),
        broker=broker,
        blobs=blobs,
        inspector=await keep(stack, Inspector()),
        clock=clock,
        rollouts=ledger.rollouts,
        **served.served_versions(config),
        egress=await keep(stack, build.egress(config)),
        ends=ends,
        tenants=build.tenants(config),
        settings=build.gateway_settings(config),
        metrics=metrics,
    )


@contextlib.asynccontextmanager
async def _embedded(
    config: Config, ledger: SqlLedger, *, blobs: Blobs, clock: SystemClock, ends: HeardEnds, metrics: Metrics
) -> AsyncGenerator[Broker]:
    """The broker in memory, filled from the ledger, on record and served to workers; leaving takes in no report that
    could not be recorded any more."""
    from springtide.broker.memory import MemoryBroker
    from springtide.broker.remote import BrokerServer
    from springtide.controller.sweeper import Sweeper
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.rollouts import Rollouts
    from springtide.telemetry.metrics import MetricsBoard
    from springtide.telemetry.metrics_relay import Board

    memory = MemoryBroker()
    await memory.start()
    sweeper = Sweeper(memory, ledger, build.model_names(config), clock, **kept_of(config, ledger))
    count = await sweeper.sweep(settle_s=-1.0)  # before any worker may ask for work
    if count:
        log.info("%d unfinished jobs are back in the queue", count)
    beside = {
        FleetHistory: ledger.history,
        OrderBook: ledger.orders,
        Rollouts: ledger.rollouts,
        MetricsBoard: Board(metrics, clock),
    }
    async with record_keeping(config, memory, ledger, blobs=blobs, clock=clock, metrics=metrics, on_ends=ends.tell):
        server = BrokerServer(memory, config.socket_path, beside=beside)
        await server.start()
        try:
            yield memory
        finally:
            await server.stop()
    await memory.stop()


async def _link_key(ledger: SqlLedger) -> str:
    """What signed links are made with, the same for all gateways at one ledger."""
    from springtide.gateway.links import LINK_KEY
    from springtide.runtime.ids import new_secret

    return await ledger.secrets.shared(LINK_KEY, new_secret())


@contextlib.asynccontextmanager
async def _linger(stop: asyncio.Event, parted: asyncio.Event, longest_s: float) -> AsyncGenerator[None]:
    """Between being told to stop and being let go: tell `up`, which knows whether its workers stop too."""

    async def tell() -> None:
        await stop.wait()
        if not parted.is_set():
            log.info("takes in no more jobs")
            _say({"stopping": True})
            await asyncio.sleep(longest_s)
            log.warning("leaves after %.0f s although nobody let it go", longest_s)
            parted.set()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def _say(news: dict[str, Any]) -> None:
    """One line for whoever started this process, which may be gone."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(news) + "\n")
        sys.stdout.flush()

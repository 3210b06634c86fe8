"""The long-running processes of the control plane: gateway and controller. (A worker's is in `worker_main`.)

Embedded (`memory://`), the gateway's process also holds the broker and the loops that stand beside the ledger, so that
one process writes the SQLite file. With Redis and PostgreSQL every role is a process of its own, as many as wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from springtide.cli import build, exposure, folder, watched
from springtide.cli.patience import Service, start, started
from springtide.cli.process import set_up_logging
from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.clock import SystemClock
from springtide.telemetry import tracing

if TYPE_CHECKING:
    from springtide.blobs.protocol import Blobs
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.controller.retention import Retention
    from springtide.controller.scaler import Scaler
    from springtide.controller.spans import JobSpans
    from springtide.domain.lease import Outcome
    from springtide.fleet.local import LocalFleet
    from springtide.fleet.protocol import Fleet
    from springtide.gateway.heard_ends import HeardEnds
    from springtide.gateway.keyring import Keyring
    from springtide.gateway.services import GatewayServices
    from springtide.ledger.history import FleetHistory
    from springtide.ledger.orders import OrderBook
    from springtide.ledger.rollouts import Rollouts
    from springtide.ledger.sql import SqlLedger
    from springtide.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
Recorded = Callable[["Sequence[Outcome]", "Sequence[bool]"], None]
GATEWAY_VARIABLE = "SPRINGTIDE_GATEWAY"  # set for the gateway that `springtide up` keeps
LEAVE_MARGIN_S = 45.0  # beyond a worker's grace: it may wait 30 s for a broker to take its last report
SCALER = "scaler"  # who tells the gateway of `springtide up` what the fleet does
LAST_RECORD_S = 5.0  # what workers reported last is some commits; a ledger that hangs must not hold the end up
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
        listener = stack.enter_context(_listen(config.server.host, config.server.port))
        ledger = await _there(stack, build.ledger(config), "ledger", stop)
        exposure.check(config, keyring := await _started(stack, exposure.keyring(ledger, clock)))
        blobs = await _there(stack, build.blobs(config), "blob store", stop)
        parts: Any = {"blobs": blobs, "clock": clock, "metrics": metrics}
        if build.is_embedded(config):
            broker = await stack.enter_async_context(_embedded(config, ledger, ends=ends, **parts))
        else:
            await stack.enter_async_context(started(broker := build.client_broker(config), "broker", stop))
            if with_controller:
                kept = record_keeping(config, broker, ledger, on_ends=ends.tell, **parts)
                await stack.enter_async_context(kept)
        if with_controller or build.is_embedded(config):
            await _started(stack, retention(config, ledger, blobs, clock))
        own = await _services(stack, config, ledger, keyring=keyring, broker=broker, ends=ends, **parts)
        app = create_app(own := dataclasses.replace(own, stopping=stop, closing=closing))
        await _started(stack, own.routing)
        await _started(stack, openai_of_app(app).driver)
        await stack.enter_async_context(watched.shown_as(config, exposition_of_app(app)))
        stack.enter_context(folder.announced(config.server.data_dir, url := _url(listener)))
        if parted is not None:
            await stack.enter_async_context(_linger(stop, parted, _longest_leave_s(config)))
        await serve(app, listener, closing, grace_s=STOP_GRACE_S, on_ready=lambda: _say({"ready": url}))


ServiceT = TypeVar("ServiceT", bound=Service)


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
        metering=await _started(stack, exposure.metering(config, ledger, clock)),
        broker=broker,
        blobs=blobs,
        inspector=await _started(stack, Inspector()),
        clock=clock,
        rollouts=ledger.rollouts,
        **build.served_versions(config),
        egress=await _started(stack, build.egress(config)),
        ends=ends,
        tenants=build.tenants(config),
        settings=build.gateway_settings(config),
        metrics=metrics,
    )


async def _started(stack: contextlib.AsyncExitStack, service: ServiceT) -> ServiceT:
    """Start a service that is to be stopped when `stack` is left."""
    await service.start()
    stack.push_async_callback(service.stop)
    return service


async def _there(stack: contextlib.AsyncExitStack, service: ServiceT, name: str, stop: asyncio.Event) -> ServiceT:
    """The same for one that may have to be waited for."""
    await start(service, name, stop)
    stack.push_async_callback(service.stop)
    return service


async def run_controller(config: Config, stop: asyncio.Event) -> None:
    """Record, reap, sweep (unless the embedded gateway does), and keep workers as the load asks."""
    set_up_logging("controller", build.telemetry(config))
    from springtide.telemetry.metrics import Metrics
    from springtide.telemetry.metrics_exposition import Exposition

    clock, metrics = SystemClock(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        broker = build.client_broker(config)
        await stack.enter_async_context(started(broker, "broker", stop))
        if build.is_embedded(config):
            history, book = build.history_beside(broker), build.orders_beside(broker)
            rollouts = build.rollouts_beside(broker)
            await stack.enter_async_context(watched.relayed(metrics, broker, SCALER))
        else:
            await stack.enter_async_context(watched.shown_as(config, Exposition(metrics, clock)))
            ledger = await _there(stack, build.ledger(config), "ledger", stop)
            blobs = await _there(stack, build.blobs(config), "blob store", stop)
            await stack.enter_async_context(
                record_keeping(config, broker, ledger, blobs=blobs, clock=clock, metrics=metrics)
            )
            await _started(stack, retention(config, ledger, blobs, clock))
            history, book, rollouts = ledger.history, ledger.orders, ledger.rollouts
        await stack.enter_async_context(
            scaling(config, broker, history, clock, book=book, rollouts=rollouts, metrics=metrics)
        )
        await stop.wait()


def retention(config: Config, ledger: SqlLedger, blobs: Blobs, clock: SystemClock) -> Retention:
    """Deletes what has been kept for its time."""
    from springtide.controller.retention import Retention, RetentionSettings

    settings = RetentionSettings(
        keep_s=config.ledger.kept_s,
        keep_orphans_s=config.blobs.keep_orphans_s,
        keep_history_s=config.ledger.keep_history_s,
        keep_usage_s=config.ledger.usage_kept_s,
    )
    return Retention(ledger, ledger.batches, ledger.history, blobs, usage=ledger.usage, settings=settings, clock=clock)


@contextlib.asynccontextmanager
async def record_keeping(
    config: Config,
    broker: Broker,
    ledger: SqlLedger,
    *,
    blobs: Blobs,
    clock: SystemClock,
    metrics: Metrics | None = None,
    on_ends: Callable[[Iterable[Outcome]], None] | None = None,
) -> AsyncGenerator[None]:
    """Recorder, conductor, reaper, sweep and the delivery of webhooks, started and stopped together. on_ends: see
    `Recorder`."""
    from springtide.controller.conductor import Conductor
    from springtide.controller.costs import Costs
    from springtide.controller.reaper import Reaper
    from springtide.controller.recorder import Recorder
    from springtide.controller.rollouts import RolloutGuard
    from springtide.controller.spans import JobSpans
    from springtide.controller.sweeper import Sweeper
    from springtide.controller.tally import Tally
    from springtide.controller.webhooks import WebhookDelivery
    from springtide.telemetry.metrics import Metrics

    models = build.model_names(config)
    spans = JobSpans(ledger, clock) if tracing.is_on() else None
    conductor = Conductor(broker, ledger, clock, on_recorded=None if spans is None else spans.recorded)
    metrics = metrics or Metrics()
    tally = Tally(metrics, ledger, models, clock)
    egress = build.egress(config)
    told: Any = {"on_steps": conductor.nudge, "on_ends": on_ends, "on_recorded": _both(tally.recorded, spans)}
    services = [
        egress,
        tally,
        Recorder(broker, ledger, models, clock, blobs=blobs, **told),
        conductor,
        Reaper(broker, models, clock, metrics=metrics),
        Costs(ledger.history, models, clock),
        Sweeper(broker, ledger, models, clock, disciplines=build.disciplines(config), book=ledger.orders),
        RolloutGuard(ledger.rollouts, broker, ledger.history, clock, units=models),
        WebhookDelivery(
            ledger.webhooks, ledger, egress, clock, settings=build.webhook_settings(config), metrics=metrics
        ),
    ]
    for service in services:
        await service.start()
    try:
        yield
    finally:
        grace_s = LAST_RECORD_S if build.is_embedded(config) else 0.0  # elsewhere the broker keeps what is not recorded
        for service in reversed(services):  # the recorder last: it writes what the others have brought about
            await service.stop(grace_s)


def _both(count: Recorded, spans: JobSpans | None) -> Recorded:
    """What the recorder tells: the metrics always, traces where they are configured."""
    if spans is None:
        return count

    def both(outcomes: Sequence[Outcome], are_ends: Sequence[bool]) -> None:
        count(outcomes, are_ends)
        spans.recorded(outcomes, are_ends)

    return both


@contextlib.asynccontextmanager
async def local_fleet(config: Config, broker: Broker, stop: asyncio.Event) -> AsyncGenerator[None]:
    """What `springtide up` does beside keeping the gateway, which keeps the record."""
    from springtide.telemetry.metrics import Metrics
    from springtide.telemetry.metrics_exposition import Exposition

    clock, metrics = SystemClock(), Metrics()
    async with contextlib.AsyncExitStack() as stack:
        if build.is_embedded(config):
            history, book = build.history_beside(broker), build.orders_beside(broker)
            rollouts = build.rollouts_beside(broker)
            await stack.enter_async_context(watched.relayed(metrics, broker, SCALER))
        else:
            await stack.enter_async_context(watched.shown_as(config, Exposition(metrics, clock)))
            ledger = await _there(stack, build.ledger(config), "ledger", stop)
            history, book, rollouts = ledger.history, ledger.orders, ledger.rollouts
        await stack.enter_async_context(
            scaling(config, broker, history, clock, book=book, rollouts=rollouts, metrics=metrics)
        )
        yield


@contextlib.asynccontextmanager
async def scaling(
    config: Config,
    broker: Broker,
    history: FleetHistory,
    clock: SystemClock,
    *,
    book: OrderBook,
    rollouts: Rollouts,
    metrics: Metrics,
) -> AsyncGenerator[None]:
    """The fleet and its scaler; leaving drains every worker of this machine."""
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
        await _started(stack, floors)
        if config.fleet.kind == "kubernetes":
            from springtide.cli.cluster import cluster_scaling

            await stack.enter_async_context(cluster_scaling(config, broker, history, clock, new_scaler))
        else:
            fleet = _local_fleet(config, broker, clock)
            await fleet.start()
            stack.push_async_callback(fleet.stop, _longest_leave_s(config))
            await _started(stack, new_scaler(fleet))
        yield


def _local_fleet(config: Config, broker: Broker, clock: SystemClock) -> LocalFleet:
    from springtide.cli import scaled
    from springtide.cli.worker_main import VARIABLE
    from springtide.fleet.devices import VARIABLE as DEVICES_VARIABLE
    from springtide.fleet.devices import Devices
    from springtide.fleet.local import Launch, LocalFleet
    from springtide.runtime.ids import new_worker_id

    pools = build.pools(config)

    there = config.fleet.accelerators
    devices = None if there is None else Devices(there, os.environ.get(DEVICES_VARIABLE))

    def launch(model: ModelName, worker: WorkerId) -> Launch:
        spec = build.worker_spec(config, model, worker).to_json()
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
    disciplines = build.disciplines(config)
    sweeper = Sweeper(memory, ledger, build.model_names(config), clock, disciplines=disciplines, book=ledger.orders)
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


def _longest_leave_s(config: Config) -> float:
    return max((model.grace_s for model in config.units.values()), default=0.0) + LEAVE_MARGIN_S


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except socket.gaierror as error:
        listener.close()
        raise ConfigError(
            f"server.host: {host!r} cannot be resolved: {error.strerror}; name an address of this machine, such as "
            f"127.0.0.1 (only from here) or 0.0.0.0 (from everywhere)"
        ) from error
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(
                f"server.host: {host!r} is not an address of this machine; 127.0.0.1 serves only from here, 0.0.0.0 "
                f"from everywhere"
            ) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}. Another server may be there; choose a free port with "
            f"--port N or [server] port in springtide.toml (0 picks one)"
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{host}:{port}"


def _say(news: dict[str, Any]) -> None:
    """One line for whoever started this process, which may be gone."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(news) + "\n")
        sys.stdout.flush()

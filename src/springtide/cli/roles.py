"""The long-running processes of the control plane: gateway and controller. (A worker's is in `worker_main`.)

Embedded (`memory://`), the gateway's process also holds the broker and the loops that stand beside the ledger, so that
one process writes the SQLite file. With Redis and PostgreSQL every role is a process of its own, as many as wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from springtide.cli import build
from springtide.domain.errors import ConfigError, SpringtideError
from springtide.domain.ids import ModelName, WorkerId
from springtide.runtime.clock import SystemClock

if TYPE_CHECKING:
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.ledger.protocol import Ledger

log = logging.getLogger(__name__)
GATEWAY_VARIABLE = "SPRINGTIDE_GATEWAY"  # set for the gateway that `springtide up` keeps
SERVER_FILE = "server.json"  # where a command finds the running server
LOCK_WAIT_S = 15.0  # a predecessor that lost its parent needs a moment to leave
STOP_GRACE_S = 3.0  # open connections at shutdown: long enough for an answer under way, not for an event stream


def main() -> None:
    """The gateway as `springtide up` starts it."""
    from springtide.cli.process import run_role
    from springtide.config import load_config

    os.environ.pop(GATEWAY_VARIABLE, None)

    async def gateway(stop: asyncio.Event) -> None:
        await run_gateway(load_config(), stop, with_controller=True)

    sys.exit(run_role("gateway", gateway, supervised=True))


async def run_gateway(config: Config, stop: asyncio.Event, *, with_controller: bool) -> None:
    """Serve HTTP until `stop`. Says where on standard output, as one JSON line, once it answers."""
    from springtide.gateway.app import create_app
    from springtide.gateway.server import serve
    from springtide.gateway.services import GatewayServices, GatewaySettings
    from springtide.media.inspector import Inspector

    clock = SystemClock()
    models = build.served_models(config)
    try:
        config.server.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"server.data_dir: {config.server.data_dir} cannot be made or used: {error.strerror}"
        raise ConfigError(f"{message}; choose a folder you may write to") from error
    listener = _listen(config.server.host, config.server.port)
    async with contextlib.AsyncExitStack() as stack:
        if build.is_embedded(config):
            await stack.enter_async_context(_only_one(config.server.data_dir))
        ledger = build.ledger(config)
        await ledger.start()
        stack.push_async_callback(ledger.stop)
        blobs = build.blobs(config)
        await blobs.start()
        stack.push_async_callback(blobs.stop)
        broker = await stack.enter_async_context(_gateway_broker(config, ledger, clock))
        if with_controller or build.is_embedded(config):
            await stack.enter_async_context(record_keeping(config, broker, ledger, clock))
        inspector = Inspector()
        await inspector.start()
        stack.push_async_callback(inspector.stop)
        app = create_app(
            GatewayServices(
                ledger=ledger,
                broker=broker,
                blobs=blobs,
                inspector=inspector,
                clock=clock,
                models=models,
                settings=GatewaySettings(max_upload_bytes=config.server.max_upload_mb << 20),
                closing=stop,
            )
        )
        url = _url(listener)
        stack.enter_context(_announced(config.server.data_dir, url))
        await serve(app, listener, stop, grace_s=STOP_GRACE_S, on_ready=lambda: _say_ready(url))


async def run_controller(config: Config, stop: asyncio.Event) -> None:
    """Record, reap, sweep (unless the embedded gateway does), and keep workers as the load asks."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        broker = build.client_broker(config)
        await broker.start()
        stack.push_async_callback(broker.stop)
        if not build.is_embedded(config):
            ledger = build.ledger(config)
            await ledger.start()
            stack.push_async_callback(ledger.stop)
            await stack.enter_async_context(record_keeping(config, broker, ledger, clock))
        await stack.enter_async_context(scaling(config, broker, clock))
        await stop.wait()


@contextlib.asynccontextmanager
async def record_keeping(config: Config, broker: Broker, ledger: Ledger, clock: SystemClock) -> AsyncGenerator[None]:
    """Recorder, reaper and sweep, started and stopped together."""
    from springtide.controller.reaper import Reaper
    from springtide.controller.recorder import Recorder
    from springtide.controller.sweeper import Sweeper

    models = build.model_names(config)
    services = [
        Recorder(broker, ledger, models, clock),
        Reaper(broker, models, clock),
        Sweeper(broker, ledger, clock),
    ]
    for service in services:
        await service.start()
    try:
        yield
    finally:
        for service in services:
            await service.stop()


@contextlib.asynccontextmanager
async def scaling(config: Config, broker: Broker, clock: SystemClock) -> AsyncGenerator[None]:
    """The local fleet and its scaler; leaving drains every worker."""
    from springtide.cli.worker_main import VARIABLE
    from springtide.controller.scaler import Scaler
    from springtide.fleet.local import Launch, LocalFleet
    from springtide.runtime.ids import new_worker_id

    def launch(model: ModelName, worker: WorkerId) -> Launch:
        spec = build.worker_spec(config, model, worker).to_json()
        argv = (sys.executable, "-m", "springtide", "worker", "--model", model, "--id", worker)
        return Launch(argv, {VARIABLE: spec})

    async def on_gone(model: ModelName, worker: WorkerId) -> None:
        await broker.leave(model, worker, clock.now_s())

    fleet = LocalFleet(launch, new_worker_id, on_gone, clock)
    scaler = Scaler(broker, fleet, build.scaling_settings(config), clock)
    await fleet.start()
    await scaler.start()
    try:
        yield
    finally:
        await scaler.stop()
        await fleet.stop(max((model.grace_s for model in config.models.values()), default=0.0))


@contextlib.asynccontextmanager
async def _gateway_broker(config: Config, ledger: Ledger, clock: SystemClock) -> AsyncGenerator[Broker]:
    if not build.is_embedded(config):
        broker = build.client_broker(config)
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()
        return
    from springtide.broker.memory import MemoryBroker
    from springtide.broker.remote import BrokerServer
    from springtide.controller.sweeper import Sweeper

    memory = MemoryBroker()
    await memory.start()
    count = await Sweeper(memory, ledger, clock).sweep(settle_s=-1.0)  # before any worker may ask for work
    if count:
        log.info("%d unfinished jobs are back in the queue", count)
    server = BrokerServer(memory, config.socket_path)
    await server.start()
    try:
        yield memory
    finally:
        await server.stop()
        await memory.stop()


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


def _say_ready(url: str) -> None:
    sys.stdout.write(json.dumps({"ready": url}) + "\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _announced(folder: Path, url: str) -> Generator[None]:
    """A file that tells commands of this user where the server is."""
    path = folder / SERVER_FILE
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    temporary.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text())["pid"] == os.getpid():
                path.unlink()


@contextlib.asynccontextmanager
async def _only_one(folder: Path) -> AsyncGenerator[None]:
    """Two embedded brokers on one ledger would lease the same job twice: the second waits, then refuses."""
    file = await _locked(folder / "lock")
    try:
        yield
    finally:
        file.close()


async def _locked(path: Path) -> TextIO:
    deadline = asyncio.get_running_loop().time() + LOCK_WAIT_S
    file = path.open("a+")
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.1)
                continue
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise SpringtideError(
                f"Springtide already runs on {path.parent} (pid {owner}). Stop it, or use another folder: "
                f"SPRINGTIDE_SERVER__DATA_DIR or [server] data_dir in springtide.toml"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        return file

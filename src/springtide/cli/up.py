"""`springtide up`: everything in one terminal.

This process is small: it keeps the gateway alive and is itself the scaler with its local fleet. Workers are
its children, not those of the gateway, so a gateway that dies and comes back finds them still running.

The order of the end, whether this process is told to stop or all of them at once: the gateway takes in no more jobs,
workers finish what they run and report it, the gateway puts that on record and is let go.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from springtide.cli.process import CONFIG_EXIT, run_role, set_up_logging
from springtide.domain.errors import ConfigError, SpringtideError

if TYPE_CHECKING:
    from springtide.config import Config

log = logging.getLogger(__name__)
READY_WITHIN_S = 60.0
GATEWAY_STOP_S = 15.0  # open connections, then what is not on record yet
ALONE_AFTER_S = 1.0  # a signal to a whole group reaches its processes one after another
FIRST_RESTART_S = 0.2
MOST_RESTART_S = 10.0


def main() -> None:
    """`springtide up` without options: the same as by the command line's own module, whose parser is 4 MB that would be
    held for as long as it runs."""
    try:
        sys.exit(up(supervised=False))
    except SpringtideError as error:
        from springtide.cli.exits import exit_code

        print(f"springtide: {error.message}", file=sys.stderr)
        sys.exit(exit_code(error))


def up(*, supervised: bool) -> int:
    """Start everything, as variables and the configuration say, and run until told to stop; returns the exit code.
    Raises ConfigError that tells all that is wrong."""
    from springtide.cli import build
    from springtide.cli.folder import taken_by_up
    from springtide.config import load_config

    first = GatewayProcess.begin()  # it takes the longest: let it load while this process reads its own settings
    with contextlib.ExitStack() as stack:
        try:
            settings = load_config()
            stack.enter_context(taken_by_up(settings.server.data_dir))
        except SpringtideError:
            first.abandon()
            build.load()  # where this is what is wrong, it tells all of it
            raise

        def on_ready(url: str) -> None:
            models = ", ".join(settings.models)
            print(f"\n  Springtide is up at {url}\n  Models: {models}    Ctrl-C stops it.\n", flush=True)

        return run_role("springtide", lambda stop: run_up(settings, stop, first, on_ready), supervised=supervised)


class GatewayProcess:
    """One life of the gateway's process."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @classmethod
    def begin(cls) -> GatewayProcess:
        """Start it; its settings come through the environment."""
        command = [sys.executable, "-m", "springtide", "gateway"]
        environment = {**os.environ, "SPRINGTIDE_GATEWAY": "1"}
        return cls(
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        )

    async def ready(self) -> str:
        """Its address, once it answers. Raises SpringtideError where it ends instead."""
        assert self._popen.stdout is not None
        reading = asyncio.to_thread(self._popen.stdout.readline)
        try:
            line = await asyncio.wait_for(reading, READY_WITHIN_S)
        except TimeoutError:
            self._popen.kill()
            raise SpringtideError(f"the gateway did not answer within {READY_WITHIN_S:.0f} s") from None
        if not line:
            code = await self.ended()
            if code == CONFIG_EXIT:
                raise ConfigError("the gateway cannot use this configuration; the lines above say why")
            raise SpringtideError(f"the gateway ended with exit code {code} before it was ready; its log says why")
        url = str(json.loads(line)["ready"])
        # Started again it must be found where it was, also where the port was picked freely.
        os.environ["SPRINGTIDE_SERVER__PORT"] = url.rpartition(":")[2]
        return url

    async def asks_to_leave(self) -> bool:
        """Wait until it says that it was told to stop; False where it ends without a word."""
        assert self._popen.stdout is not None
        return bool(await asyncio.to_thread(self._popen.stdout.readline))

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        return await asyncio.to_thread(self._popen.wait)

    def close(self) -> None:
        """Let it take in no more jobs."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.terminate()

    def let_go(self) -> None:
        """Let it end: it puts on record what it has, and leaves."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()

    async def stop(self) -> None:
        """Let it go, then SIGKILL."""
        self.let_go()
        try:
            await asyncio.to_thread(self._popen.wait, GATEWAY_STOP_S)
        except subprocess.TimeoutExpired:
            log.warning("the gateway did not stop within %.0f s: killed", GATEWAY_STOP_S)
            self.abandon()

    def abandon(self) -> None:
        """Kill it and forget it."""
        self._popen.kill()
        self._popen.communicate()


async def run_up(config: Config, stop: asyncio.Event, gateway: GatewayProcess, on_ready: Callable[[str], None]) -> None:
    """Run until `stop`, then drain workers, then let the gateway go. `on_ready` is told the address once it answers."""
    from springtide.cli import build
    from springtide.cli.controller_main import scaled_fleet
    from springtide.cli.patience import started
    from springtide.runtime.memory import settle

    set_up_logging("springtide", build.telemetry(config))
    keeper = _Keeper(gateway, stop)
    try:
        url = await _ready_unless(stop, gateway)
        if url is None:
            return
        broker = build.client_broker(config)
        keeping = asyncio.create_task(keeper.keep())
        try:
            async with started(broker, "broker", stop), scaled_fleet(config, broker, stop, keeps_record=False):
                on_ready(url)
                settle()
                await stop.wait()
                log.info("stopping: workers finish what they run (again to stop at once)")
                keeper.gateway.close()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await keeper.gateway.stop()


async def _ready_unless(stop: asyncio.Event, gateway: GatewayProcess) -> str | None:
    """The gateway's address once it answers; None where `stop` comes first."""
    ready = asyncio.create_task(gateway.ready())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        ready.cancel()
        await asyncio.gather(ready, return_exceptions=True)
        return None
    return ready.result()


class _Keeper:
    """Starts the gateway again whenever it ends. Its jobs are in the ledger: nothing is lost meanwhile."""

    def __init__(self, gateway: GatewayProcess, stop: asyncio.Event) -> None:
        self.gateway = gateway
        self._stop = stop

    async def keep(self) -> None:
        from springtide.runtime.backoff import Backoff

        backoff = Backoff(FIRST_RESTART_S, MOST_RESTART_S)
        while True:
            code = await self._ended()
            if code == 0 and self._stop.is_set():
                return
            delay_s = backoff.next_s()
            if code == 0:
                log.info("the gateway has left; it starts again in %.1f s", delay_s)
            else:
                log.error("the gateway died (exit code %s); it starts again in %.1f s", code, delay_s)
            await asyncio.sleep(delay_s)
            self.gateway = GatewayProcess.begin()
            with contextlib.suppress(SpringtideError):
                await self.gateway.ready()
                backoff.reset()
                if self._stop.is_set():
                    self.gateway.close()

    async def _ended(self) -> int:
        """Wait for the gateway's end; lets it go where it alone was told to stop."""
        leaving = asyncio.create_task(self._let_go_alone())
        try:
            return await self.gateway.ended()
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _let_go_alone(self) -> None:
        if not await self.gateway.asks_to_leave():
            return
        try:
            await asyncio.wait_for(self._stop.wait(), ALONE_AFTER_S)
        except TimeoutError:
            log.info("the gateway was told to stop; it leaves and comes back")
            self.gateway.let_go()

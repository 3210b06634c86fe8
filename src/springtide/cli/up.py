"""`springtide up`: everything in one terminal.

This process is small: it keeps the gateway alive and is itself the scaler with its local fleet. Workers are
its children, not those of the gateway, so a gateway that dies and comes back finds them still running.
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

from springtide.domain.errors import SpringtideError

if TYPE_CHECKING:
    from springtide.config import Config

log = logging.getLogger(__name__)
READY_WITHIN_S = 60.0
GATEWAY_STOP_S = 10.0
FIRST_RESTART_S = 0.2
MOST_RESTART_S = 10.0


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
            raise SpringtideError(f"the gateway ended with exit code {code} before it was ready; its log says why")
        url = str(json.loads(line)["ready"])
        # Started again it must be found where it was, also where the port was picked freely.
        os.environ["SPRINGTIDE_SERVER__PORT"] = url.rpartition(":")[2]
        return url

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        return await asyncio.to_thread(self._popen.wait)

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self._popen.poll() is not None:
            return
        self._popen.terminate()
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
    """Run until `stop`, then drain workers, then stop the gateway. `on_ready` is told the address once it answers."""
    from springtide.cli import build
    from springtide.cli.roles import scaling
    from springtide.runtime.clock import SystemClock
    from springtide.runtime.memory import settle

    keeper = _Keeper(gateway)
    try:
        url = await gateway.ready()
        broker = build.client_broker(config)
        await broker.start()
        keeping = asyncio.create_task(keeper.keep())
        try:
            async with scaling(config, broker, SystemClock()):
                on_ready(url)
                settle()
                await stop.wait()
                log.info("stopping: workers finish what they run (again to stop at once)")
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            await broker.stop()
    finally:
        await keeper.gateway.stop()


class _Keeper:
    """Starts the gateway again whenever it ends. Its jobs are in the ledger: nothing is lost meanwhile."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway

    async def keep(self) -> None:
        from springtide.runtime.backoff import Backoff

        backoff = Backoff(FIRST_RESTART_S, MOST_RESTART_S)
        while True:
            code = await self.gateway.ended()
            delay_s = backoff.next_s()
            log.error("the gateway died (exit code %s); it starts again in %.1f s", code, delay_s)
            await asyncio.sleep(delay_s)
            self.gateway = GatewayProcess.begin()
            with contextlib.suppress(SpringtideError):
                await self.gateway.ready()
                backoff.reset()

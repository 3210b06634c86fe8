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
import signal
import sys
from collections.abc import Callable

from springtide.cli import build
from springtide.cli.roles import scaling
from springtide.config import Config
from springtide.domain.errors import SpringtideError
from springtide.runtime.backoff import Backoff
from springtide.runtime.clock import SystemClock

log = logging.getLogger(__name__)
READY_WITHIN_S = 60.0
GATEWAY_STOP_S = 10.0


async def run_up(config: Config, stop: asyncio.Event, on_ready: Callable[[str], None]) -> None:
    """Run until `stop`, then drain workers, then stop the gateway. `on_ready` is told the address once it answers."""
    gateway = _Gateway()
    url = await gateway.start()
    keeper = asyncio.create_task(gateway.keep())
    try:
        broker = build.client_broker(config)
        await broker.start()
        try:
            async with scaling(config, broker, SystemClock()):
                on_ready(url)
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait([stopping, keeper], return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                log.info("stopping: workers finish what they run (again to stop at once)")
        finally:
            await broker.stop()
        if keeper.done():
            keeper.result()
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        await gateway.stop()


class _Gateway:
    """The gateway's process: started, watched, started again."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._backoff = Backoff(0.2, 10.0)

    async def start(self) -> str:
        """Start and wait until it answers; returns its address. Raises SpringtideError where it ends instead."""
        command = [sys.executable, "-m", "springtide", "gateway", "--with-controller", "--supervised"]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        self._process = process
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), READY_WITHIN_S)
        except TimeoutError:
            process.kill()
            raise SpringtideError(f"the gateway did not answer within {READY_WITHIN_S:.0f} s") from None
        if not line:
            code = await process.wait()
            raise SpringtideError(f"the gateway ended with exit code {code} before it was ready; its log says why")
        url = str(json.loads(line)["ready"])
        # Started again it must be found where it was, also where the port was picked freely.
        os.environ["SPRINGTIDE_SERVER__PORT"] = url.rpartition(":")[2]
        return url

    async def keep(self) -> None:
        """Start it again whenever it ends. Its jobs are in the ledger: nothing is lost meanwhile."""
        while True:
            assert self._process is not None
            code = await self._process.wait()
            delay_s = self._backoff.next_s()
            log.error("the gateway died (exit code %s); it starts again in %.1f s", code, delay_s)
            await asyncio.sleep(delay_s)
            with contextlib.suppress(SpringtideError):
                await self.start()
                self._backoff.reset()

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GATEWAY_STOP_S)
        except TimeoutError:
            log.warning("the gateway did not stop within %.0f s: killed", GATEWAY_STOP_S)
            process.kill()
            await process.wait()

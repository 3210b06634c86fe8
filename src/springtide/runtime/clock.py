"""The real clock. A virtual one for tests is in `springtide.testing.clock`."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """`domain.clock.Clock` on the machine's own time."""

    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

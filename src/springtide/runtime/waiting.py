"""Waiting for the first of several things, leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def first_of(*things: Awaitable[Any]) -> None:
    """Wait until one of them is done; the others are cancelled, but for futures that came in as such. Raises what the
    first one raised."""
    tasks = {asyncio.ensure_future(thing): isinstance(thing, asyncio.Future) for thing in things}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task, is_foreign in tasks.items():
            if not is_foreign:
                await stop_task(task)


async def stop_task(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end; whatever it ends with is its own matter."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # looked at: asyncio need not complain

"""Starting beside what is not there yet: a process outlives the absence of its broker, blob store or ledger.

Promises: whoever cannot be reached is named once with the reason, tried again ever more slowly, and told when it is
there. Refuses to go on with what can never be used (ConfigError).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Protocol, TypeVar

from springtide.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from springtide.runtime.backoff import Backoff
from springtide.runtime.clock import SystemClock

log = logging.getLogger(__name__)
FIRST_RETRY_S = 0.5
MOST_RETRY_S = 5.0  # whoever waits for a server to come back has this long to wait more, at most


class Service(Protocol):
    """What can be started and stopped."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


SETTINGS = {"broker": " ([broker] url)", "blob store": " ([blobs] url)"}  # the ledger says its own, with its address
ServiceT = TypeVar("ServiceT", bound=Service)


async def keep(stack: contextlib.AsyncExitStack, service: ServiceT) -> ServiceT:
    """Start a service that is to be stopped when `stack` is left."""
    await service.start()
    stack.push_async_callback(service.stop)
    return service


async def keep_once_there(
    stack: contextlib.AsyncExitStack, service: ServiceT, name: str, stop: asyncio.Event
) -> ServiceT:
    """The same for one that may have to be waited for, and without which nothing can be done. Raises Unavailable on
    `stop`."""
    await _start(service, name, stop)
    stack.push_async_callback(service.stop)
    return service


@contextlib.asynccontextmanager
async def started(service: Service, name: str, stop: asyncio.Event) -> AsyncGenerator[None]:
    """The service, started where that is possible now, else beside the block as soon as it is: for a service whose
    users wait for it by themselves. If it turns out to be of no use, `stop` is set and the block ends with that error.
    """
    later: asyncio.Task[None] | None = None
    try:
        await service.start()
    except (Unavailable, OutcomeUnknown) as error:
        later = asyncio.create_task(_start_later(service, name, stop, error), name=f"start of the {name}")
    try:
        yield
    finally:
        if later is not None:
            later.cancel()
            await asyncio.wait([later])
        await service.stop()
    if later is not None and not later.cancelled():
        later.result()


async def _start(service: Service, name: str, stop: asyncio.Event) -> None:
    try:
        await service.start()
    except (Unavailable, OutcomeUnknown) as error:
        starting = asyncio.create_task(_start_later(service, name, stop, error))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.wait([starting, stopping])
        if starting.cancelled():
            raise
        starting.result()


async def _start_later(service: Service, name: str, stop: asyncio.Event, error: Exception) -> None:
    clock, backoff = SystemClock(), Backoff(FIRST_RETRY_S, MOST_RETRY_S)
    log.warning("the %s is not there yet; trying again until it is: %s%s", name, error, SETTINGS.get(name, ""))
    while True:
        await clock.sleep(backoff.next_s())
        try:
            await service.start()
        except (Unavailable, OutcomeUnknown) as again:
            log.debug("the %s is not there yet: %s", name, again)
        except ConfigError:
            stop.set()
            raise
        else:
            log.info("the %s is there now", name)
            return

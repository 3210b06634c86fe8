"""One connection on which a process hears that something changed, however many readers wait.

A script that adds events publishes the ids of their jobs, all in one message on its model's channel; one that adds
outcomes publishes an empty message on another. Whoever waits for such a word is woken and reads; the keys hold the
truth, so a lost message costs a reader its remaining wait, never an event. When the connection breaks, everybody is
woken and looks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from springtide.broker.redis_line import heard
from springtide.broker.redis_scripts import BROKEN, RedisLink

logger = logging.getLogger(__name__)

IDLE_CHANNELS = 256  # subscriptions kept for readers that come back: two a model are all there are
RECONNECT_S = 0.25  # between tries; readers meanwhile fail or wait out their time by themselves
REFUSED_S = 5.0  # between tries where the server refuses: that takes somebody's hand to change
CONFIRM_S = 2.0  # a subscription is confirmed in one round trip; without it the reader goes on unheard


class Bell(NamedTuple):
    """What a reader waits for: a message on `channel`, or only one with this word in it."""

    channel: str
    word: str | None = None


class Doorbell:
    """Wakes those who wait for a word on a channel."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._listeners: dict[str, dict[str | None, set[asyncio.Event]]] = {}
        self._confirmed: dict[str, asyncio.Event] = {}  # every channel wanted -> set once the server has confirmed it
        self._task: asyncio.Task[None] | None = None
        self._pubsub: Any = None

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._confirmed.clear()

    @contextlib.asynccontextmanager
    async def listen(self, *bells: Bell) -> AsyncGenerator[asyncio.Event]:
        """Gives an event that is set whenever one of `bells` has rung. Clear it, read, then wait."""
        rung = asyncio.Event()
        for channel, word in bells:
            self._listeners.setdefault(channel, {}).setdefault(word, set()).add(rung)
        try:
            await self._subscribe([bell.channel for bell in bells if bell.channel not in self._confirmed])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_S):
                    for bell in bells:
                        if (confirmed := self._confirmed.get(bell.channel)) is not None:
                            await confirmed.wait()
            yield rung
        finally:
            for channel, word in bells:
                words = self._listeners[channel]
                words[word].discard(rung)
                if not words[word]:
                    del words[word]
                if not words:
                    del self._listeners[channel]
            if len(self._confirmed) - len(self._listeners) > IDLE_CHANNELS:
                await self._forget_idle()

    async def _subscribe(self, names: list[str]) -> None:
        for name in names:
            self._confirmed[name] = asyncio.Event()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="redis-doorbell")
        elif names and self._pubsub is not None:
            with contextlib.suppress(*BROKEN):  # the reading side finds out too, and asks for all names again
                await self._pubsub.subscribe(*names)

    async def _forget_idle(self) -> None:
        idle = [name for name in self._confirmed if name not in self._listeners]
        for name in idle:
            del self._confirmed[name]
        if self._pubsub is not None:
            with contextlib.suppress(*BROKEN):
                await self._pubsub.unsubscribe(*idle)

    async def _run(self) -> None:
        while True:
            pause_s = RECONNECT_S
            try:
                await self._hear()
            except BROKEN as error:
                logger.debug("live line to the broker broke: %s", self._link.translate(error))
            except Exception:
                pause_s = REFUSED_S
                logger.exception("no live line to the broker: readers see news only when their wait is over")
            for name in self._listeners:
                self._ring_all(name)
            await asyncio.sleep(pause_s)

    async def _hear(self) -> None:
        pubsub: Any = self._link.subscription()
        try:
            await pubsub.subscribe(*self._confirmed)
            self._pubsub = pubsub
            async for kind, channel, said in heard(pubsub.connection):
                name = channel.decode()
                if kind == b"message":
                    self._ring(name, said.decode())
                elif kind == b"subscribe" and name in self._confirmed:
                    self._confirmed[name].set()
                    self._ring_all(name)  # whatever happened while nobody was subscribed went unheard
        finally:
            self._pubsub = None
            for name in self._confirmed:
                self._confirmed[name] = asyncio.Event()
            with contextlib.suppress(*BROKEN):
                await pubsub.aclose()

    def _ring(self, name: str, said: str) -> None:
        words = self._listeners.get(name)
        if words is None:
            return
        for rung in words.get(None, ()):
            rung.set()
        if len(words) > (None in words):  # few wait for a word: often nobody does, and hundreds are said
            for word in words.keys() & said.split(" "):
                for rung in words[word]:
                    rung.set()

    def _ring_all(self, name: str) -> None:
        for listeners in self._listeners.get(name, {}).values():
            for rung in listeners:
                rung.set()

"""Events on objects: what was done and why, where `kubectl describe` shows it. One that cannot be written is lost."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.fleet.kubernetes_api import EVENTS, KubernetesApi, Object

log = logging.getLogger(__name__)
MOST_WAITING = 100  # an API server that is away must not fill the memory
LONGEST = 1024  # as the API takes them


class Events:
    """A service: `start`, `stop`; `tell` returns at once."""

    def __init__(self, api: KubernetesApi, clock: Clock, *, component: str, instance: str = "") -> None:
        """component: who says so. instance: which of several."""
        self._api = api
        self._clock = clock
        self._component = component
        self._instance = instance
        self._waiting: asyncio.Queue[Object] = asyncio.Queue(MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self, grace_s: float = 0.0) -> None:
        """What was told until now is written still, if the API server takes it."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while not self._waiting.empty() and await self._write(self._waiting.get_nowait()):
            pass

    def tell(self, about: Object, reason: str, message: str, *, is_warning: bool = False) -> None:
        """reason: one word in CamelCase."""
        at = datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = about["metadata"]
        event: Object = {
            "metadata": {"generateName": f"{metadata['name'][:50]}."},
            "involvedObject": {
                "apiVersion": about.get("apiVersion", ""),
                "kind": about.get("kind", ""),
                "namespace": metadata.get("namespace", ""),
                "name": metadata["name"],
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "reason": reason,
            "message": message[:LONGEST],
            "type": "Warning" if is_warning else "Normal",
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(event)

    async def _run(self) -> None:
        while True:
            await self._write(await self._waiting.get())

    async def _write(self, event: Object) -> bool:
        try:
            await self._api.create(EVENTS, event)
        except SpringtideError as error:
            log.debug("an event is lost: %s", error)
            return False
        return True

"""Objects of one kind as the API server has them, kept current by one watch: list, then watch from its version on.

Promises: each change is told once, in order; what vanished while nobody could see it is told as gone by the next list.
An API server that is away, restarts, forgets its history (410) or sends an ERROR costs a list after a back-off with
jitter; until then the objects stay as they were seen last, and `is_current` says that they are old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from springtide.domain.clock import Clock
from springtide.domain.errors import SpringtideError
from springtide.fleet.kubernetes_api import ApiRefused, KubernetesApi, Object, Resource
from springtide.runtime.backoff import Backoff

log = logging.getLogger(__name__)
FIRST_RETRY_S = 0.5
MOST_RETRY_S = 15.0  # an API server that was restarted is found again within so long


class Reflector:
    """A service: `start`, `stop`; `objects` by name."""

    def __init__(
        self,
        api: KubernetesApi,
        what: Resource,
        clock: Clock,
        *,
        labels: str = "",
        on_set: Callable[[Object], None] | None = None,
        on_gone: Callable[[Object], None] | None = None,
    ) -> None:
        """on_set: told of each object that is new or changed. on_gone: of each that is no more, as seen last."""
        self._api = api
        self._what = what
        self._clock = clock
        self._labels = labels
        self._on_set = on_set
        self._on_gone = on_gone
        self._objects: dict[str, Object] = {}
        self._backoff = Backoff(FIRST_RETRY_S, MOST_RETRY_S)
        self._task: asyncio.Task[None] | None = None
        self._has_listed = asyncio.Event()
        self.since = ""  # the version that is known
        self.is_current = False
        self.problem: str | None = None  # why not

    @property
    def objects(self) -> Mapping[str, Object]:
        return self._objects

    @property
    def has_listed(self) -> bool:
        """Whether it has ever seen them."""
        return self._has_listed.is_set()

    async def listed(self) -> None:
        """Wait for the first list."""
        await self._has_listed.wait()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"watch of {self._what.plural}")

    async def stop(self, grace_s: float = 0.0) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.is_current = False

    async def _run(self) -> None:
        while True:
            try:
                await self._list_and_watch()
            except ApiRefused as error:
                # The history is too short: that is nobody's fault, and a list puts it right.
                level = logging.INFO if error.is_expired else logging.WARNING
                self._note(f"{error}", level)
            except SpringtideError as error:
                self._note(f"{error}", logging.WARNING)
            except Exception as error:
                log.exception("the watch of %s failed and will try again", self._what.plural)
                self._note(f"{type(error).__name__}: {error}", logging.DEBUG)
            await self._clock.sleep(self._backoff.next_s())

    def _note(self, problem: str, level: int) -> None:
        if self.is_current or self.problem is None:
            log.log(level, "%s are as they were seen last: %s", self._what.plural, problem)
        self.is_current, self.problem = False, problem

    async def _list_and_watch(self) -> None:
        listed = await self._api.list(self._what, labels=self._labels)
        self._take(listed.items)
        self.since = listed.version
        self._has_listed.set()
        if self.problem is not None:
            log.info("%s are current again", self._what.plural)
        self.is_current, self.problem = True, None
        while True:
            began_s = self._clock.monotonic_s()
            async for told in self._api.watch(self._what, since=self.since, labels=self._labels):
                self.since = told.object["metadata"]["resourceVersion"]
                self._hear(told.type, told.object)
                self._backoff.reset()  # only here: lists that succeed beside watches that fail are no success
            if self._clock.monotonic_s() - began_s < 1.0:  # it ends in order after minutes; at once is a trouble
                await self._clock.sleep(self._backoff.next_s())

    def _hear(self, kind: str, told: Object) -> None:
        name = told["metadata"].get("name", "")
        if kind in ("ADDED", "MODIFIED"):
            self._objects[name] = told
            if self._on_set is not None:
                self._on_set(told)
        elif kind == "DELETED" and self._objects.pop(name, None) is not None and self._on_gone is not None:
            self._on_gone(told)

    def _take(self, items: Sequence[Object]) -> None:
        found: dict[str, Object] = {one["metadata"]["name"]: one for one in items}
        before, self._objects = self._objects, found
        for name, one in before.items():
            now = found.get(name)
            is_same = now is not None and now["metadata"]["uid"] == one["metadata"]["uid"]
            if not is_same and self._on_gone is not None:
                self._on_gone(one)
        for name, one in found.items():
            was = before.get(name)
            is_news = was is None or was["metadata"]["resourceVersion"] != one["metadata"]["resourceVersion"]
            if is_news and self._on_set is not None:
                self._on_set(one)

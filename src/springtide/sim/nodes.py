"""Simulated processes: each with its tasks, its host's clock and its own chance; killed without a last word.

A killed process' tasks are cancelled, and everything by which they could touch the world outside refuses from that very
moment: what their `finally` blocks do stays without effect, as after a SIGKILL. A frozen one (SIGSTOP, a stalled
machine) finds nobody to talk to until it goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from springtide.runtime import chance

T = TypeVar("T")

EPOCH_S = 1_800_000_000.0  # far from today: code that asks the machine's clock is found out
BURIAL_ROUNDS = 200  # no chain of `finally` blocks is longer

_current: ContextVar[Node | None] = ContextVar("node", default=None)


def current_name() -> str:
    node = _current.get()
    return "world" if node is None else node.name


class Host:
    """A machine. Its clock may be set while processes run on it; durations never notice."""

    def __init__(self, name: str, *, skew_s: float = 0.0) -> None:
        self.name = name
        self.skew_s = skew_s

    def now_s(self) -> float:
        return EPOCH_S + self.skew_s + asyncio.get_running_loop().time()

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Node:
    """One process on a host."""

    def __init__(self, name: str, host: Host, seed: str) -> None:
        self.name = name
        self.host = host
        self.rand = random.Random(f"{seed}/{name}")  # noqa: S311 - the same chance each time is what is wanted
        self.is_alive = True
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_call: Callable[[], None] | None = None  # told of every call to the outside, for well-aimed faults
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._ids = 0
        self._context = self._make_context()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of this process."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def enter(self, build: Callable[[], T]) -> T:
        """The result of `build`, called inside this process."""
        return self._context.copy().run(build)

    def enrol(self, task: asyncio.Task[Any]) -> None:
        """A task that was started by one of ours."""
        if len(self._tasks) > 200:
            self._tasks = {each: None for each in self._tasks if not each.done()}
        self._tasks[task] = None

    async def pass_gate(self) -> None:
        """On every way out and in: the dead do not get through, the frozen not yet."""
        if not self._thawed.is_set():
            await self._thawed.wait()
        if not self.is_alive:
            raise asyncio.CancelledError

    def called(self) -> None:
        """One of its tasks is about to call somebody outside."""
        if self.on_call is not None:
            self.on_call()

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def kill(self) -> None:
        """SIGKILL. Returns at once; its tasks are gone a few rounds of the loop later."""
        if not self.is_alive:
            return
        self.is_alive = False
        self.died.set_result(None)
        self._thawed.set()
        asyncio.get_running_loop().create_task(self._bury(), context=Context())

    def remains(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done."""
        return [task for task in self._tasks if not task.done()]

    async def _bury(self) -> None:
        for _ in range(BURIAL_ROUNDS):
            if not (tasks := self.remains()):
                return
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        raise AssertionError(f"{self.name} does not die: {self.remains()}")

    def _make_context(self) -> Context:
        context = copy_context()

        def enter() -> None:
            _current.set(self)
            chance.replace(self.rand.random, self._new_hex)

        context.run(enter)
        return context

    def _new_hex(self) -> str:
        """A UUIDv7 by this host's clock."""
        self._ids += 1
        ms = int(self.host.now_s() * 1000)
        tail = self.rand.getrandbits(62) | 1 << 63
        return f"{ms:012x}7{self._ids & 0xFFF:03x}{tail:016x}"


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    """Every task belongs to the process that started it."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **options)
    context: Context | None = options.get("context")
    node = _current.get() if context is None else context.get(_current)
    if node is not None:
        node.enrol(task)
    return task

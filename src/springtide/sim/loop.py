"""An event loop whose time is virtual: when nothing is ready to run, it jumps to the next timer.

Promises: the same program gives the same run, step by step: one thread, no I/O, work for threads done inline. An hour
of sleeping costs nothing. Refuses to wait for what can never come: then `Stalled` is raised instead of hanging.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from springtide.runtime.threads import inline

T = TypeVar("T")


class Stalled(RuntimeError):
    """Every task waits, and no timer is set."""


class _NoInput(selectors.SelectSelector):
    """Nothing ever comes from outside: waiting for it means that time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stalled("every task waits, and no timer is set")
        self.passed_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` starts at 0 and moves only where all tasks wait."""

    def __init__(self) -> None:
        self._input = _NoInput()
        super().__init__(self._input)

    def time(self) -> float:
        return self._input.passed_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Done at once: threads would bring the system's own order into the run."""
        future: asyncio.Future[Any] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run_virtually(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `main` to its end in virtual time."""
    with inline(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())

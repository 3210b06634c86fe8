"""What the supervisor keeps alive, and who is told of it: the engine to load, its process, the listener."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from springtide.engines.signing import SigningPlace
from springtide.worker.frames import FromChild, ToChild
from springtide.worker.memory_watch import Memory
from springtide.worker.run import Ending, Run


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to load, and its limits."""

    model: str  # for the log
    engine_reference: str
    settings: dict[str, Any]
    weights_folder: Path
    accept_non_commercial: bool = False
    signing: SigningPlace | None = None
    load_timeout_s: float = 300.0
    load_attempts: int = 6
    warm_up: bool = False
    memory_limit_mb: int | None = None
    batch: int = 1


class Listener(Protocol):
    """Who is told. Called in the event loop; must not wait."""

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        """checkpoint: a file that the engine has left for the next attempt."""
        ...

    def on_endings(self, endings: Sequence[Ending]) -> None: ...

    def on_child(self) -> None:
        """The child became ready, idle or dead, or does not load."""
        ...

    def on_ghost(self, run: Run) -> None:
        """A run that was reported as cancelled while its batch ran on has now really ended; or one that was in a child
        which was stopped."""
        ...


class ChildProcess(Protocol):
    """What is supervised: `worker.child.Child`, or a simulated one."""

    pid: int
    exited: asyncio.Future[int]  # its exit code, set once everything it said has been heard

    def send(self, message: ToChild) -> None: ...

    def running(self) -> tuple[int, ...]: ...

    def memory(self) -> Memory | None: ...

    def kill(self) -> None: ...

    def printed(self) -> str: ...

    def forget_printed(self) -> None: ...


StartChild = Callable[[str, Callable[[FromChild], None]], Awaitable[ChildProcess]]

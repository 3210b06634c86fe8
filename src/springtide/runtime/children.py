"""Processes of ours that do a part of a server's work for as long as there is much of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence

from springtide.runtime.backoff import Backoff

# All that Python needs to start and find this package, as for the inspector: passwords stay here.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TZ")


class Demand:
    """Whether there is so much to do that a process for it pays, and none has just failed."""

    def __init__(self, busy_per_s: float, window_s: float) -> None:
        self.count = 0  # in this window
        self._busy_per_s = busy_per_s
        self._window_s = window_s
        self._window_at_s = 0.0
        self._backoff = Backoff(1.0, 60.0)
        self._not_before_s = 0.0

    def is_high(self) -> bool:
        """Looks when a window is over; False in between."""
        now_s = asyncio.get_running_loop().time()
        past_s = now_s - self._window_at_s
        if past_s < self._window_s:
            return False
        is_busy = self.count >= self._busy_per_s * past_s
        self._window_at_s, self.count = now_s, 0
        return is_busy and now_s >= self._not_before_s

    def failed(self) -> None:
        """A process ended by itself: the next one has to wait, for longer each time."""
        self._not_before_s = asyncio.get_running_loop().time() + self._backoff.next_s()

    def served(self) -> None:
        """One was ended because there was little to do."""
        self._backoff.reset()


class Child:
    """One process, from its begin to its end."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._is_unwanted = False

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def begin(self, command: Sequence[str], handles: Sequence[int]) -> None:
        """With these handles and nothing else of ours, in a session of its own: Ctrl-C does not reach it. Raises
        OSError."""
        self._process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=handles,
            stdin=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        if self._is_unwanted:  # meanwhile
            self.kill()

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        return await self._process.wait()

    def kill(self) -> None:
        """Stopped or stuck, it would not hear of anything else."""
        self._is_unwanted = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

"""Looking at strangers' files in a process that may die.

Promises that no file ends or blocks the process that asks: a decoder that crashes, hangs or eats all memory costs its
child process, the file is BadMedia, and the next file gets a fresh child. Children start at the first question (two at
most, the second only while the first is busy), take a few milliseconds more than the decoding when warm, and leave
after a minute without work or when this process is gone, however it went.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from springtide.domain.errors import BadMedia, NotFound, SpringtideError, TooLarge, Unavailable
from springtide.domain.model import FileField
from springtide.media.probe import Probe
from springtide.media.wire import LENGTH, MAX_FRAME_BYTES, READY, Complaint, Question, Reply, decode_reply, frame

TIMEOUT_S = 20.0  # the slowest honest file, 50 megapixels of interlaced PNG, takes two
IDLE_S = 60.0
MAX_CHILDREN = 2
_START_TIMEOUT_S = 30.0  # 0.1 s on an idle machine; one that swaps may take a hundred times as long

_COMMAND = (sys.executable, "-P", "-m", "springtide.media.inspector_main")
# All that Python needs to start and find this package. Passwords in the parent's environment stay there.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TZ")

_log = logging.getLogger(__name__)


class Inspector:
    """A service that runs `probe` in child processes."""

    def __init__(
        self, *, timeout_s: float = TIMEOUT_S, idle_s: float = IDLE_S, command: Sequence[str] = _COMMAND
    ) -> None:
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._command = command
        self._places = asyncio.Semaphore(MAX_CHILDREN)
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._retiring: asyncio.TimerHandle | None = None
        self._endings: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        return [child.pid for child in (*self._idle, *self._busy)]

    async def start(self) -> None:
        """Nothing yet: the first child starts with the first question."""

    async def stop(self) -> None:
        """End all children, also those at work: whoever waits for one gets Unavailable."""
        self._is_stopped = True
        if self._retiring is not None:
            self._retiring.cancel()
        for child in (*self._idle, *self._busy):
            self._end(child)
        self._idle.clear()
        for _ in range(MAX_CHILDREN):  # whoever was starting a child ends it first
            await self._places.acquire()
        await asyncio.gather(*self._endings)
        for _ in range(MAX_CHILDREN):
            self._places.release()

    async def inspect(self, path: Path, field: FileField) -> Probe:
        """Probe a file. Raises BadMedia or TooLarge for the file, NotFound where it is not there, Unavailable where no
        child can be started."""
        async with self._places:
            reply = await self._ask(Question(str(path), field))
        if reply.probe is not None:
            return reply.probe
        if reply.complaint is not None:
            raise _error_of(reply.complaint)
        if not await asyncio.to_thread(path.exists):
            raise NotFound("There is no such file.")
        raise Unavailable(f"The file could not be looked at: {reply.failure}.")

    async def _ask(self, question: Question) -> Reply:
        while not self._is_stopped:
            child, is_fresh = await self._take()
            if self._is_stopped:
                self._end(child)
                break
            self._busy.add(child)
            is_sound = False
            try:
                async with asyncio.timeout(self._timeout_s):
                    reply = await child.ask(question)
                is_sound = True
                return reply
            except TimeoutError as error:
                raise BadMedia(
                    f"The file could not be decoded within {self._timeout_s:g} s. Make it smaller or simpler.",
                    code="broken_media",
                ) from error
            except _ChildDied as death:
                if self._is_stopped:
                    break
                _log.warning("the media inspector died: %s", death)
                if is_fresh:
                    raise BadMedia(
                        f"The file breaks its decoder ({death}). It is damaged, or made to do that.",
                        code="broken_media",
                    ) from death
                # It may have died of something before: ask a fresh one before blaming this file.
            finally:
                self._busy.discard(child)
                if is_sound:
                    self._put_back(child)
                else:
                    self._end(child)
        raise Unavailable("The media inspector is being stopped.")

    async def _take(self) -> tuple[_Child, bool]:
        if self._idle:
            return self._idle.pop(), False
        child = await _Child.start(self._command)
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await child.ready()
        except (TimeoutError, _ChildDied) as error:
            raise Unavailable(f"The process that looks at files does not start: {error or 'no answer'}.") from error
        finally:
            if not child.is_ready:
                self._end(child)
        return child, True

    def _put_back(self, child: _Child) -> None:
        loop = asyncio.get_running_loop()
        child.idle_since_s = loop.time()
        self._idle.append(child)
        if self._retiring is None:
            self._retiring = loop.call_later(self._idle_s, self._retire)

    def _retire(self) -> None:
        loop = asyncio.get_running_loop()
        self._retiring = None
        due_s = loop.time() - self._idle_s
        for child in [child for child in self._idle if child.idle_since_s <= due_s]:
            self._idle.remove(child)
            self._end(child)
        if self._idle:
            oldest_s = min(child.idle_since_s for child in self._idle)
            self._retiring = loop.call_at(oldest_s + self._idle_s, self._retire)

    def _end(self, child: _Child) -> None:
        task = asyncio.create_task(child.end())
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


class _ChildDied(Exception):
    """The child ended without an answer; the text says how."""


class _Child:
    """One process and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._questions = process.stdin
        self._answers = process.stdout
        self.pid = process.pid
        self.idle_since_s = 0.0
        self.is_ready = False

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Child:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # libraries write remarks on odd files
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                start_new_session=True,  # Ctrl-C in the terminal is for the parent, which drains first
            )
        except OSError as error:
            raise Unavailable(f"No process to look at files can be started: {error}.") from error
        return cls(process)

    async def ready(self) -> None:
        """Wait until the child has imported what it needs."""
        try:
            self.is_ready = await self._answers.readexactly(LENGTH.size) == READY
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _ChildDied(_how(await self._process.wait())) from error
        if not self.is_ready:
            raise _ChildDied("it sent nonsense")

    async def ask(self, question: Question) -> Reply:
        try:
            self._questions.write(frame(question))
            await self._questions.drain()
            head = await self._answers.readexactly(LENGTH.size)
            size = LENGTH.unpack(head)[0]
            if size > MAX_FRAME_BYTES:
                raise _ChildDied(f"it sent a frame of {size:,} bytes")
            return decode_reply(await self._answers.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise _ChildDied(_how(await self._process.wait())) from error
        except msgspec.DecodeError as error:
            raise _ChildDied("it sent nonsense") from error

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._questions.close()
        with contextlib.suppress(ConnectionError):
            await self._questions.wait_closed()
        await self._process.wait()


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _error_of(complaint: Complaint) -> SpringtideError:
    kind = TooLarge if complaint.is_too_large else BadMedia
    return kind(complaint.message, code=complaint.code, **complaint.details)

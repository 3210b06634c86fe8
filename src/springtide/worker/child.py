"""The worker's handle on one child process: start it, talk to it, learn how it ended.

Promises: `exited` is set exactly once, after everything the child said has been read; killing takes the programs that
the engine started with it; a worker that ends, in whatever way, leaves no child behind.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import socket
import weakref
from collections.abc import Callable
from typing import cast

import msgspec

from springtide.worker.frames import FrameBuffer, FromChild, ToChild, encode
from springtide.worker.launch import Launched, launch
from springtide.worker.memory_watch import Memory, memory_of

log = logging.getLogger(__name__)
engine_log = logging.getLogger("springtide.engine")

TAIL_BYTES = 4096  # of what the engine printed, for crash reports: a Python or faulthandler traceback fits
LAST_WORDS_S = 0.5  # a dead child's socket closes with it, unless a program it started holds on to it

FORKSERVER_DIED = 255  # what multiprocessing says of a child whose end it could not learn

_alive: weakref.WeakSet[Child] = weakref.WeakSet()


class Child(asyncio.Protocol):
    """One child process. Make it with `start`; all methods belong to the event loop's thread."""

    def __init__(self, launched: Launched, on_message: Callable[[FromChild], None]) -> None:
        assert launched.process.pid is not None
        self.pid = launched.process.pid
        self._process = launched.process
        self._running = launched.running
        self._stderr = launched.stderr
        self._on_message = on_message
        self._decoder = msgspec.msgpack.Decoder(FromChild)
        self._frames = FrameBuffer()
        self._tail = bytearray()
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, engine_reference: str, on_message: Callable[[FromChild], None]) -> Child:
        """Start a process. The first one waits until the forkserver has made its imports."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        launching = asyncio.ensure_future(asyncio.to_thread(launch, engine_reference, theirs))
        try:
            child = cls(await asyncio.shield(launching), on_message)
        except BaseException:
            ours.close()  # a process that comes up and finds nobody there ends
            if not launching.done():  # only this wait was cancelled; the thread cannot be
                await asyncio.wait([launching])
                if launching.exception() is None:
                    launching.result().stderr.close()
            raise
        try:
            await child._attach(ours)
        except BaseException:
            child.kill()
            raise
        return child

    async def _attach(self, ours: socket.socket) -> None:
        _alive.add(self)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, self._on_exit)
        os.set_blocking(self._stderr.fileno(), False)
        loop.add_reader(self._stderr.fileno(), self._read_stderr)
        await loop.create_unix_connection(lambda: self, sock=ours)

    def send(self, message: ToChild) -> None:
        if self._transport is not None:
            self._transport.write(encode(message))

    def running(self) -> tuple[int, ...]:
        """Seqs of the tasks that run now, as the child has left it in shared memory."""
        return self._running.read()

    def memory(self) -> Memory | None:
        """What it holds in RAM; None where it is gone."""
        return memory_of(self.pid)

    def kill(self) -> None:
        """SIGKILL for the process and all it started."""
        if not self.exited.done():
            _kill_group(self.pid)

    def printed(self) -> str:
        """The end of what the engine printed."""
        return self._tail.decode("utf-8", "replace")

    def forget_printed(self) -> None:
        self._read_stderr()
        self._tail.clear()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not of asyncio's classes

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._on_message(self._decoder.decode(frame))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closed.done():
            self._closed.set_result(None)

    # --- the end ------------------------------------------------------------------------------------------------

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._burial = asyncio.create_task(self._bury())

    async def _bury(self) -> None:
        await asyncio.wait([self._closed], timeout=LAST_WORDS_S)
        code = self._process.exitcode
        if code is None or code == FORKSERVER_DIED:
            _kill_group(self.pid)  # then it may still be alive
        else:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # what the engine started
        self._read_stderr(reads=8)
        asyncio.get_running_loop().remove_reader(self._stderr.fileno())
        self._stderr.close()
        if self._transport is not None:
            self._transport.close()
        _alive.discard(self)
        with contextlib.suppress(ValueError):
            self._process.close()
        self.exited.set_result(FORKSERVER_DIED if code is None else code)

    def _read_stderr(self, reads: int = 1) -> None:
        """A pipe holds 64 KiB: a few reads empty it, and an engine that prints without end does not hold the loop."""
        for _ in range(0 if self._stderr.closed else reads):
            try:
                data = os.read(self._stderr.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self._stderr.fileno())
                return
            self._tail += data
            del self._tail[:-TAIL_BYTES]
            for line in data.decode("utf-8", "replace").splitlines():
                engine_log.info("%s", line)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # gone, or too young to have a group of its own
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@atexit.register
def _leave_none_behind() -> None:
    """Before multiprocessing waits for children at exit, which it would do for ever."""
    for child in list(_alive):
        _kill_group(child.pid)

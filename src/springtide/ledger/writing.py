"""The owner's side of the process that writes to the SQLite ledger while much is written (docs/decisions/0061).

SQLite's statements leave the interpreter's lock, but each has to win it back from a busy event loop, and what is
around them holds it. In a process of their own they use the second processor.

    ready     [version]                 writer: ask me
    asked     [[kind, row, files], ...] owner: do this in one transaction
    done      [result, ...]             writer: it is on disk; empty: nothing was done

Frames as in `runtime.frames`; a result is as of `writes.apply`, the row of a job that was there already as a list.

Promises: whatever the writer does not do, the owner does as ever. One that dies or does not answer is given up, and
what it may have done is done again, which changes nothing. Never do both write at a time. It is begun when writes come
by the hundred a second, and ended when they have not for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from springtide import __version__
from springtide.ledger.database import NOT_DONE, BrokenLine
from springtide.ledger.writes import Kind, Write, length
from springtide.runtime.children import Child, Demand
from springtide.runtime.frames import Frames

log = logging.getLogger(__name__)

BUSY_PER_S = 500.0  # operations; a job has two
WINDOW_S = 1.0
IDLE_S = 60.0  # a begin costs half a second of processor time
IDLE_PER_S = BUSY_PER_S / 10
ANSWER_S = 15.0  # a group takes milliseconds, a second where another process has the file
MOST_CHARACTERS = 1 << 20  # of a group's inputs and outputs: more are copied and sent more slowly than written
MOST_REFUSED = 20  # groups in a row; what refuses more is of no use
_COMMAND = (sys.executable, "-P", "-m", "springtide.ledger.writer")

Asked = list[tuple[int, tuple[Any, ...], list[tuple[Any, ...]]]]
Done = list[Any]

encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
decode_asked: Callable[[bytes], Asked] = msgspec.msgpack.Decoder(Asked).decode
READY = encode([__version__])


class Writing:
    """`ShortWay`: at most one writer at a time."""

    def __init__(
        self,
        url: str,
        *,
        busy_per_s: float = BUSY_PER_S,
        window_s: float = WINDOW_S,
        idle_s: float = IDLE_S,
        answer_s: float = ANSWER_S,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """url: of the ledger, which the caller has migrated."""
        self._url = url
        self._command = command
        self._idle_s = idle_s
        self._answer_s = answer_s
        self._demand = Demand(busy_per_s, window_s)
        self._turn = asyncio.Lock()  # who holds it decides who writes next
        self._writer: _Writer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the writer, once it can be asked."""
        return self._writer.pid if self._writer is not None and self._writer.is_ready else None

    async def apply(self, operations: Sequence[Write]) -> Sequence[Any]:
        self._demand.count += len(operations)
        if self._demand.is_high() and self._writer is None:
            self._writer = _Writer()
            self._task = asyncio.create_task(self._keep(self._writer))
        asked = None
        if not any(one.kind is Kind.RARE for one in operations) and sum(map(length, operations)) <= MOST_CHARACTERS:
            async with self._turn:
                asked = None if self._writer is None else self._writer.ask(operations)
        done = [] if asked is None else await self._answered(asked)
        return done or [NOT_DONE] * len(operations)

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        """The writer does nothing meanwhile."""
        async with self._turn:
            if self._writer is not None:
                await self._writer.rested()
            yield

    async def stop(self) -> None:
        if self._writer is not None:
            self._writer.end()
        if self._task is not None:
            await self._task

    async def _answered(self, asked: asyncio.Future[Done]) -> Done:
        try:
            async with asyncio.timeout(self._answer_s):
                return await asked
        except TimeoutError:
            if self._writer is not None:
                log.warning("the ledger's writer has not answered for %.0f s and is ended", self._answer_s)
                self._writer.give_up()
            raise BrokenLine from None

    async def _keep(self, writer: _Writer) -> None:
        """From its begin to its end."""
        try:
            await writer.begin(self._command, self._url)
            self._look_later(writer)
            how = f"exit code {await writer.ended()}"
        except OSError as error:
            how = str(error)
        self._writer = None
        if writer.is_over and not writer.has_failed:
            self._demand.served()
        else:
            self._demand.failed()
            log.warning("the ledger's writer ended (%s)", how)
            writer.end()

    def _look_later(self, writer: _Writer) -> None:
        asyncio.get_running_loop().call_later(self._idle_s, self._look, writer, writer.operations)

    def _look(self, writer: _Writer, operations: int) -> None:
        """End one that has little to do."""
        is_idle = writer.is_ready and writer.operations - operations < IDLE_PER_S * self._idle_s
        if is_idle and not writer.is_asked:
            writer.end()
        elif not writer.is_over:
            self._look_later(writer)


class _Writer:
    """One life of it."""

    def __init__(self) -> None:
        self._child = Child()
        self._frames: Frames[Done] = Frames(list, self._received, self._lost)
        self._asked: deque[asyncio.Future[Done]] = deque()
        self.operations = 0  # that it was asked for
        self.is_ready = False
        self.is_over = False  # ended by us
        self.has_failed = False  # and why
        self._refused = 0  # groups in a row

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def is_asked(self) -> bool:
        return bool(self._asked)

    async def begin(self, command: Sequence[str], url: str) -> None:
        """Raises OSError."""
        line, its_line = socket.socketpair()
        line.setblocking(False)
        with contextlib.ExitStack() as unless_begun:
            unless_begun.enter_context(line)
            with its_line:
                handle = its_line.fileno()
                await self._child.begin([*command, str(handle), url], [handle])
            unless_begun.pop_all()
        await asyncio.get_running_loop().create_connection(lambda: self._frames, sock=line)

    async def ended(self) -> int:
        return await self._child.ended()

    def ask(self, operations: Sequence[Write]) -> asyncio.Future[Done] | None:
        """None where it cannot be asked."""
        if not self.is_ready:
            return None
        try:
            content = encode(operations)
        except (TypeError, ValueError, OverflowError):  # a value that has no place in a database either
            return None
        self._frames.send(content)
        self._asked.append(asyncio.get_running_loop().create_future())
        self.operations += len(operations)
        return self._asked[-1]

    async def rested(self) -> None:
        """Wait until nothing is asked of it."""
        if self._asked:
            await asyncio.wait(self._asked)

    def give_up(self) -> None:
        self.has_failed = True
        self.end()

    def end(self) -> None:
        self.is_over = True
        self._frames.close()
        self._lost()
        self._child.kill()

    def _received(self, done: Done) -> None:
        if not self.is_ready:
            self.is_ready = done == [__version__]
        else:
            self._refused = 0 if done else self._refused + 1
            if not (asked := self._asked.popleft()).done():
                asked.set_result(done)
        if not self.is_ready or self._refused > MOST_REFUSED:  # another version, put in place under a running server
            self.give_up()

    def _lost(self) -> None:
        self.is_ready = False
        while self._asked:
            if not (asked := self._asked.popleft()).done():
                asked.set_exception(BrokenLine())

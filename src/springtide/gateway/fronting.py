"""The gateway's side of its front process (docs/decisions/0058): when there is one, which connections are given to it,
and what is done for the requests that it passes on.

Promises: without it everything works as well, and with it nothing but speed is different: requests run through the same
application. It is begun when submits come by the hundred a second on connections that do nothing else, and ended a
minute after the last of those has gone, so an idle server pays nothing for it. One that dies takes its connections
along, as a gateway does; whoever connects again is served here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from springtide.gateway.front_line import LEAVE, PATH, Asked, encode, receive_connection, send_connection
from springtide.gateway.problems import new_request_id, problem_body
from springtide.gateway.whole_answers import written
from springtide.runtime.children import Child, Demand
from springtide.runtime.frames import Frames

log = logging.getLogger(__name__)

BUSY_PER_S = 500.0  # an eighth of what the gateway can do alone
POSTS_IN_A_ROW = 8  # of a connection that is worth giving away
WINDOW_S = 1.0
IDLE_S = 60.0  # a begin costs 0.15 s of processor time
OWN_FILES = 64  # of those that a process may open: what it needs beside connections
_COMMAND = (sys.executable, "-P", "-m", "springtide.gateway.front")


class Fronting:
    """At most one front process at a time."""

    def __init__(
        self,
        app: Any,
        adopt: Callable[[socket.socket, bytes], None],
        *,
        busy_per_s: float = BUSY_PER_S,
        window_s: float = WINDOW_S,
        idle_s: float = IDLE_S,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        """adopt: serves a connection here from now on, beginning with what was read of it."""
        self.app = app
        self.adopt = adopt
        self.demand = Demand(busy_per_s, window_s)  # for short requests
        self._idle_s = idle_s
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._front: _Front | None = None
        self._is_stopped = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Of the front process, while there is one."""
        return None if self._front is None else self._front.pid

    @property
    def held(self) -> int:
        """Connections that it has."""
        return 0 if self._front is None else self._front.held

    @property
    def relayed(self) -> int:
        """Requests that it has passed on."""
        return 0 if self._front is None else self._front.relayed

    def takes(self, posts: int) -> bool:
        """Counts a short request that was answered here, the last of so many in a row on its connection. Whether that
        connection may be given away now."""
        self.demand.count += 1
        if self.demand.is_high() and self._front is None and not self._is_stopped:
            self._front = _Front(self)
            self.run(self._keep(self._front))
        return posts >= POSTS_IN_A_ROW and self._front is not None and self._front.is_open

    def give(self, handle: int) -> bool:
        """Give a connection away, between two requests. False where that cannot be done now."""
        return self._front is not None and self._front.give(handle)

    async def stop(self, grace_s: float) -> None:
        """What is under way gets so long to be answered; connections come back."""
        self._is_stopped = True
        if self._front is not None:
            self._front.leave()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self._front.emptied.wait()
            self._front.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, doing: Any) -> None:
        task = self._loop.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, front: _Front) -> None:
        """From its begin to its end."""
        try:
            await front.begin(self._command)
            self._loop.call_later(self._idle_s, self._look, front, -1)
            how = f"exit code {await front.ended()}"
        except OSError as error:
            how = str(error)
        self._front = None
        if front.is_leaving:
            self.demand.served()
        else:
            self.demand.failed()
            log.warning("the front process ended (%s) and took %d connections along", how, front.held)
            front.end()

    def _look(self, front: _Front, relayed: int) -> None:
        """End one that has nothing to do."""
        if self._front is not front:
            return
        if front.held or front.relayed != relayed or not front.is_open:  # which under load takes seconds
            self._loop.call_later(self._idle_s, self._look, front, front.relayed)
        else:
            front.leave()
            front.end()


class _Front:
    """One life of it."""

    def __init__(self, fronting: Fronting) -> None:
        self._fronting = fronting
        self._child = Child()
        self._frames: Frames[Asked] = Frames(Asked, self._received, self._lost)
        self._channel: socket.socket | None = None
        self._halves: dict[int, socket.socket | bytes | None] = {}  # of connections that come back, in two parts
        self._most_held = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - OWN_FILES  # it has the same limit
        self._come: list[_Come] = []  # in this turn of the loop
        self.held = 0
        self.relayed = 0
        self._is_ready = False
        self.is_leaving = False
        self.emptied = asyncio.Event()
        self.emptied.set()

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def is_open(self) -> bool:
        return self._is_ready and self._frames.is_open and not self.is_leaving

    async def begin(self, command: Sequence[str]) -> None:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        line, its_line = socket.socketpair()
        self._channel, its_channel = socket.socketpair()
        self._channel.setblocking(False)
        line.setblocking(False)
        with contextlib.ExitStack() as unless_begun:
            unless_begun.enter_context(line)
            with its_line, its_channel:
                handles = (its_line.fileno(), its_channel.fileno())
                await self._child.begin([*command, *map(str, handles)], handles)
            if self.is_leaving:  # meanwhile
                self.end()
                return
            unless_begun.pop_all()
        loop.add_reader(self._channel, self._take_back)
        await loop.create_connection(lambda: self._frames, sock=line)

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        return await self._child.ended()

    def give(self, handle: int) -> bool:
        if not self.is_open or self._channel is None or self.held >= self._most_held:
            return False
        try:
            send_connection(self._channel, handle, 0)
        except OSError:  # the channel is full, or gone
            return False
        self.held += 1
        self.emptied.clear()
        return True

    def leave(self) -> None:
        self.is_leaving = True
        self._frames.send(LEAVE)

    def end(self) -> None:
        """Hang up, which ends it."""
        self.is_leaving = True
        self._frames.close()
        self._lost()
        self._child.kill()

    def _lost(self) -> None:
        self.emptied.set()
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        for half in self._halves.values():
            if isinstance(half, socket.socket):
                half.close()
        self._halves.clear()

    def _received(self, frame: Asked) -> None:
        number, headers, body = frame
        if headers is not None and not number:
            self._is_ready = True
        elif headers is not None:
            self.relayed += 1
            self._fronting.demand.count += 1
            if not self._come:
                asyncio.get_running_loop().call_soon(self._begin)
            self._come.append((number, headers, body))
        else:
            self.held -= 1
            if number:
                self._came_back(number, body)
            self._check_empty()

    def _take_back(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # its end, which the line tells of
            while self._channel is not None and (given := receive_connection(self._channel)) is not None:
                self._came_back(*given)
            return
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)

    def _came_back(self, number: int, half: socket.socket | bytes | None) -> None:
        """half: what was read, or the connection, None for one that was lost on the way."""
        if number not in self._halves:
            self._halves[number] = half
        else:
            other = self._halves.pop(number)
            connection, unread = (other, half) if isinstance(half, bytes) else (half, other)
            assert isinstance(unread, bytes) and not isinstance(connection, bytes)
            if connection is not None:
                self._fronting.adopt(connection, unread)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self.held and not self._halves:
            self.emptied.set()

    def _begin(self) -> None:
        come, self._come = self._come, []
        self._fronting.run(self._answer(come))

    async def _answer(self, come: list[_Come]) -> None:
        """All that came in one turn of the loop."""
        left = {number for number, _, _ in come}

        def reply(place: int, head: Any, body: bytes) -> None:
            number = come[place][0]
            left.discard(number)
            whole = written(head["status"], head["headers"], body)
            self._frames.send(encode((number, whole or _broken())))

        asked = [({**_SCOPE, "headers": headers, "state": {}}, body) for _, headers, body in come]
        try:
            await self._fronting.app.answer_each(_SCOPE["path"], asked, reply)
        except Exception:
            log.exception("%d submits were not answered", len(left))
            for number in left:
                self._frames.send(encode((number, _broken())))


_Come = tuple[int, list[tuple[bytes, bytes]], bytes]
_SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": PATH.decode(),
    "raw_path": PATH,
    "query_string": b"",
    "root_path": "",
    "client": None,
    "server": None,
}


def _broken() -> bytes:
    body = problem_body(500, "internal_error", "The server failed to answer.", request_id=new_request_id())
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", b"%d" % len(body))]
    whole = written(500, headers, body)
    assert whole is not None
    return whole

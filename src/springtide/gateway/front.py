"""A process that stands before the gateway's while thousands of jobs a second are submitted. It keeps the connections
of busy clients, reads their `POST /v1/jobs` and passes them on by the turn of its loop; whole answers come back.

Promises: what it does not know entirely is not its own to answer. A connection with anything else on it (another route,
a form, a body in chunks, a head that is late, what is no HTTP) goes back to the gateway as it is, with every byte that
was read and not answered, and is served there as if it had never left. It ends when the gateway does, however that
went.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
from typing import Any, cast

import httptools

from springtide.gateway.front_line import (
    GONE,
    MOST_BYTES,
    PATH,
    READY,
    Answered,
    encode,
    receive_connection,
    send_connection,
)
from springtide.runtime.frames import Frames

BEGINS = b"POST %s HTTP/1.1\r\n" % PATH
LOOK_S = 5.0  # a head or body that is not whole by the second look is the gateway's, which knows what to say
IDLE_LOOKS = 15  # 75 s, as in the gateway
_NOT_OURS = frozenset({b"transfer-encoding", b"expect", b"upgrade"})


class NotOurs(Exception):
    """What was read is for the gateway."""


class Request:
    """One request, as far as it was read. Raises NotOurs through the parser."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.is_whole = False
        self._length = -1
        self._url = b""
        self._parser = httptools.HttpRequestParser(self)

    def read(self, data: bytes) -> None:
        """Raises NotOurs."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:  # which it makes of ours, too
            raise NotOurs from error

    def end_in(self, raw: bytes) -> int:
        """Where it ends in all that was read since it began. Raises NotOurs."""
        at = raw.find(b"\r\n\r\n") + 4
        end = at + self._length
        if raw[at:end] != self.body:
            raise NotOurs
        return end

    def on_url(self, url: bytes) -> None:
        if not self.is_whole:  # the parser reads on, into the next request
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_whole:
            return
        name = name.lower()
        if name == b"content-length":
            if self._length >= 0:
                raise NotOurs
            self._length = int(value)
        elif name in _NOT_OURS or (name == b"content-type" and b"multipart" in value.lower()):
            raise NotOurs
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_whole:
            return
        if self._url != PATH or not 0 <= self._length <= MOST_BYTES or not self._parser.should_keep_alive():
            raise NotOurs

    def on_body(self, body: bytes) -> None:
        if not self.is_whole:
            self.body += body

    def on_message_complete(self) -> None:
        self.is_whole = True


class Door(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._transport = cast("asyncio.Transport", None)
        self._unread = b""  # of the request that is being read, and what came after it
        self._request: Request | None = None
        self._looks = 0  # since anything came or was answered
        self._is_full = False  # the client does not read its answers: it gets no more of them
        self._is_given_back = False
        self.number = 0  # of what the gateway is asked, while it is asked
        self.is_leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._front.doors.add(self)
        if self._front.is_leaving:
            self.give_back()

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.lost(self, is_given_back=self._is_given_back)

    def data_received(self, data: bytes) -> None:
        self._looks = 0
        self._unread += data
        if self.number or self.is_leaving or self._is_full:  # sent before the answer to what was sent before
            if len(self._unread) > MOST_BYTES:
                self._transport.pause_reading()
            return
        try:
            self._read(data)
        except NotOurs:
            self.give_back()

    def answer(self, whole: bytes) -> None:
        self.number = self._looks = 0
        self._transport.write(whole)
        self._read_on()

    def pause_writing(self) -> None:
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        if self.is_leaving:
            asyncio.get_running_loop().call_soon(self.give_back)
        else:
            self._transport.resume_reading()
            self._read_on()

    @property
    def is_reading(self) -> bool:
        """Whether a request has begun."""
        return bool(self._unread)

    def look(self) -> None:
        self._looks += 1
        if self.number or self.is_leaving:
            return
        if self._unread and self._looks > 1:
            self.give_back()
        elif self._looks > IDLE_LOOKS:
            self._transport.close()

    def give_back(self) -> None:
        """Once all that was answered has left."""
        self.is_leaving = True
        if self._transport.is_closing():
            return
        self._transport.pause_reading()
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(0)  # `resume_writing` is called when all has left
            return
        self._is_given_back = True
        self._front.give_back(self._transport.get_extra_info("socket").fileno(), self._unread)
        self._transport.abort()

    def _read_on(self) -> None:
        """With what came before it could be asked."""
        if self._unread and not (self.number or self._is_full):
            data, self._unread = self._unread, b""
            self._transport.resume_reading()
            self.data_received(data)

    def _read(self, data: bytes) -> None:
        raw = self._unread
        if self._request is None:
            self._request = Request()
        if not raw.startswith(BEGINS[: len(raw)]) or len(raw) > MOST_BYTES:
            raise NotOurs
        self._request.read(data)
        if self._request.is_whole:
            request, self._request = self._request, None
            self._unread = raw[request.end_in(raw) :]
            self._front.ask(self, request)


class Front:
    """The process: its connections, and the line to the gateway."""

    def __init__(self, channel: socket.socket) -> None:
        self.doors: set[Door] = set()
        self.over = asyncio.Event()
        self.line: Frames[Answered] = Frames(Answered, self.answered, self.over.set)
        self._channel = channel
        self._room = select.poll()
        self._room.register(channel, select.POLLOUT)
        self._asking: dict[int, Door] = {}
        self._number = 0
        self._serving: set[asyncio.Task[Any]] = set()
        self.is_leaving = False

    def ask(self, door: Door, request: Request) -> None:
        self._number = door.number = self._number + 1
        self._asking[door.number] = door
        self.line.send(encode((door.number, request.headers, request.body)))

    def give_back(self, handle: int, unread: bytes) -> None:
        self._number += 1
        while True:
            try:
                send_connection(self._channel, handle, self._number)
                break
            except BlockingIOError:  # hundreds at one time: wait for the gateway, which never waits for us
                self._room.poll()
        self.line.send(encode((self._number, None, unread)))

    def lost(self, door: Door, *, is_given_back: bool) -> None:
        self.doors.discard(door)
        self._asking.pop(door.number, None)
        if not is_given_back:
            self.line.send(GONE)

    def take_in(self) -> None:
        """Connections that the gateway gives away."""
        try:
            while (given := receive_connection(self._channel)) is not None:
                if given[1] is None:
                    self.line.send(GONE)
                else:
                    self._serve(given[1])
        except (OSError, EOFError):
            self.over.set()

    def look(self) -> None:
        for door in list(self.doors):
            door.look()
        asyncio.get_running_loop().call_later(LOOK_S, self.look)

    def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: Door(self), connection))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    def answered(self, frame: Answered) -> None:
        number, whole = frame
        if not number:
            self.is_leaving = True
        elif (door := self._asking.pop(number, None)) is not None:
            door.answer(whole)
        if self.is_leaving:
            for door in list(self.doors):
                if not door.number and not door.is_leaving:
                    door.give_back()


async def run(line: socket.socket, channel: socket.socket) -> None:
    """Serve until the gateway hangs up."""
    loop = asyncio.get_running_loop()
    front = Front(channel)
    await loop.create_connection(lambda: front.line, sock=line)
    loop.add_reader(channel, front.take_in)
    front.line.send(READY)
    front.look()
    await front.over.wait()
    os._exit(0)  # what clients are owed nobody can give them now; they see their connections end


def main() -> None:
    """Two handles by their numbers: the line and the channel."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for the gateway, which hangs up when it has ended
    line, channel = (socket.socket(fileno=int(handle)) for handle in sys.argv[1:])
    line.setblocking(False)
    channel.setblocking(False)
    with asyncio.Runner(loop_factory=_loop_factory) as runner:
        runner.run(run(line, channel))


def _loop_factory() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    main()

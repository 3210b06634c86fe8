"""What the gateway and a front process say to each other (docs/decisions/0058).

Two sockets join them, neither of which blocks. One carries frames (`runtime.frames`), the other connections of clients:
file descriptors, each with a number.

    ready     [0, [], b""]              front: give me connections
    asked     [number, headers, body]   front: `POST /v1/jobs`, wholly read
    returned  [number, nil, bytes]      front: the connection of that number comes with what was read of it, unanswered
    gone      [0, nil, b""]             front: a client has closed its connection
    answered  [number, bytes]           gateway: the whole answer, ready to be written
    leave     [0, b""]                  gateway: answer what is under way, and give back all connections

The gateway gives away a connection between two requests, so it comes without bytes, under the number 0.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec

Asked = tuple[int, list[tuple[bytes, bytes]] | None, bytes]
Answered = tuple[int, bytes]

encode: Callable[[Asked | Answered], bytes] = msgspec.msgpack.Encoder().encode
READY = encode((0, [], b""))
GONE = encode((0, None, b""))
LEAVE = encode((0, b""))

PATH = b"/v1/jobs"
MOST_BYTES = 1 << 16  # of a request with its head: a longer one takes its time anyway
_NUMBER_BYTES = 8


def send_connection(channel: socket.socket, handle: int, number: int) -> None:
    """Give a connection away; the caller's own handle stays open. Raises BlockingIOError where the channel is full, and
    OSError."""
    socket.send_fds(channel, [number.to_bytes(_NUMBER_BYTES, "big")], [handle])


def receive_connection(channel: socket.socket) -> tuple[int, socket.socket | None] | None:
    """The next connection that came, None where there is none now; without a socket where this process may open no
    more: the system has closed it. Raises OSError, EOFError."""
    try:
        data, handles, _, _ = socket.recv_fds(channel, _NUMBER_BYTES, 1)
    except BlockingIOError:
        return None
    if not data:
        raise EOFError
    number = int.from_bytes(data, "big")
    if not handles:
        return number, None
    connection = socket.socket(fileno=handles[0])
    connection.set_inheritable(False)
    connection.setblocking(False)
    return number, connection

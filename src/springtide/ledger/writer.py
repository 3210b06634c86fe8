"""A process that writes to the SQLite ledger while much is written. The process that owns the ledger passes groups of
operations on; each is one transaction, which is on disk when it is answered.

Promises: it does what the owner would have done, by the same code, or nothing. What is refused or wrong
it rolls back and hands back, for the owner to do or to say what is the matter. It ends when the owner hangs up or dies.
"""

from __future__ import annotations

import signal
import socket
import sys
from functools import partial

from sqlalchemy import Row, make_url

from springtide.ledger import writes
from springtide.ledger.sqlite import SqliteWriter
from springtide.ledger.writing import READY, Done, decode_asked, encode
from springtide.runtime.frames import HEADER_BYTES

BUSY_TIMEOUT_MS = 500  # of another process on the same file: the owner, who gets back what cannot be done, waits longer


def answer(writer: SqliteWriter, frame: bytes) -> Done:
    """One result for each operation, empty where nothing was done."""
    operations = [writes.Write(writes.Kind(kind), row, files) for kind, row, files in decode_asked(frame)]
    try:
        try:
            results = writer.write(partial(writes.apply, writes=operations, careful=False))
        except writes.Uncertain:
            results = writer.write(partial(writes.apply, writes=operations, careful=True))
    except Exception:  # the owner will meet it, too, and knows whom to tell
        return []
    return [tuple(result) if isinstance(result, Row) else result for result in results]


def main() -> None:
    """A handle by its number, the line to the owner, and the ledger's URL."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # for the owner, which hangs up when it has ended
    line, writer = socket.socket(fileno=int(sys.argv[1])), SqliteWriter(make_url(sys.argv[2]), BUSY_TIMEOUT_MS)
    content = READY
    try:
        while True:
            line.sendall(len(content).to_bytes(HEADER_BYTES, "big") + content)
            content = encode(answer(writer, _receive(line, int.from_bytes(_receive(line, HEADER_BYTES), "big"))))
    except (EOFError, OSError):
        writer.close()


def _receive(line: socket.socket, size: int) -> bytes:
    """Raises EOFError, OSError."""
    content = line.recv(size, socket.MSG_WAITALL)
    if len(content) < size:
        raise EOFError
    return content


if __name__ == "__main__":
    main()

"""Where a child process begins. Apart from `child_main`, so that the worker never loads what only children need."""

from __future__ import annotations

import socket
from multiprocessing.connection import Connection
from typing import Any

from springtide.worker.frames import SharedRunning


def enter(theirs: socket.socket, stderr: Connection[Any, Any], running: SharedRunning) -> None:
    """The target of the process."""
    from springtide.worker.child_main import main
    from springtide.worker.tracker import forget

    forget()
    main(theirs, stderr, running)

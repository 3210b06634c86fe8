"""The inspector's child: answers one question after another until its input ends. Started by `inspector` alone.

Promises to die: when its input closes (its parent is gone, or wants it gone), and by an alarm when a decoder hangs and
nobody is left to kill it. Refuses to grow: memory and the files it may write and open are limited before it reads any.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from springtide.domain.errors import BadMedia, SpringtideError, TooLarge
from springtide.domain.model import FileField
from springtide.media.probe import Probe, probe
from springtide.media.wire import LENGTH, READY, Complaint, Reply, decode_question, frame

MEMORY_BYTES = 2 << 30  # 50 megapixels of WebP take 400 MB while they are decoded; the libraries themselves 150 MB
ALARM_S = 60.0  # three times the parent's patience


def main() -> None:
    """Limit this process, then serve on standard input and output."""
    _limit()
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # a library that prints must not break the frames
    serve(0, answers, probe)


def serve(questions: int, answers: int, look: Callable[[Path, FileField], Probe]) -> None:
    """Say that all is imported, then answer until `questions` ends."""
    _write(answers, READY)
    while True:
        head = _read(questions, LENGTH.size)
        body = _read(questions, LENGTH.unpack(head)[0]) if head is not None else None
        if body is None:
            return
        question = decode_question(body)
        signal.setitimer(signal.ITIMER_REAL, ALARM_S)  # the default action ends the process, also within C code
        reply = _answer(Path(question.path), question.field, look)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, frame(reply))


def _answer(path: Path, field: FileField, look: Callable[[Path, FileField], Probe]) -> Reply:
    try:
        return Reply(probe=look(path, field))
    except (BadMedia, TooLarge) as error:
        return Reply(complaint=_complaint(error))
    except MemoryError:
        message = f"The file needs more than {MEMORY_BYTES >> 20:,} MiB of memory to decode. Scale it down."
        return Reply(complaint=Complaint("broken_media", message))
    except Exception as error:
        return Reply(failure=f"{type(error).__name__}: {error}")


def _complaint(error: SpringtideError) -> Complaint:
    return Complaint(error.code, error.message, error.details, isinstance(error, TooLarge))


def _limit() -> None:
    limits = {
        resource.RLIMIT_AS: MEMORY_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for what, most in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS knows not all of them
            resource.setrlimit(what, (most, most))


def _read(handle: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = os.read(handle, size - len(data))
        if not more:
            return None
        data += more
    return data


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


if __name__ == "__main__":
    sys.exit(main())

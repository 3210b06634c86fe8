"""What worker and child process say to each other, and how it is put on the wire.

A frame is four bytes of length (big-endian) and one msgpack message. Results of many short jobs share one frame: at ten
thousand jobs a second the cost is in waking the other side, not in the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any

import msgspec

from springtide.domain.job import JobError
from springtide.engines.signing import SigningPlace

LENGTH = struct.Struct(">I")
SAFE_DETAILS_BYTES = 16_384  # details of an error are for people: a page or two


MOST_TOGETHER = 1024  # tasks that run at once: the configuration allows no larger batch


class SharedRunning:
    """The tasks that run now, in memory that both processes see: a crash is blamed on what the child last said here.

    cells: `multiprocessing.RawArray("Q", 1 + MOST_TOGETHER)`: how many, then their seqs. Only the child writes.
    """

    def __init__(self, cells: MutableSequence[int]) -> None:
        self._cells = cells

    def say(self, seqs: Sequence[int]) -> None:
        """These run from now on."""
        cells = self._cells
        cells[0] = 0  # whoever dies in the middle of this has not begun
        cells[1 : 1 + len(seqs)] = seqs
        cells[0] = len(seqs)

    def read(self) -> tuple[int, ...]:
        return tuple(self._cells[1 : 1 + self._cells[0]])


class Load(msgspec.Struct, tag="load"):
    """Load this engine; answered by `Ready` or `LoadFailed`."""

    engine_reference: str
    settings: dict[str, Any]
    weights_folder: str
    accept_non_commercial: bool = False
    signing: SigningPlace | None = None
    warm_up: bool = False  # run the engine's example before answering


class Task(msgspec.Struct, array_like=True):
    """One attempt, ready to run: its files are local. `seq` is its number in this child, from 1."""

    seq: int
    payload: bytes  # `domain.lease.Payload` as it came
    paths: dict[str, str]  # blob id -> local file
    folder: str  # the attempt's own; made when the engine first asks for it
    together: int = MOST_TOGETHER  # most tasks, this one included, that may share its run
    checkpoint: str | None = None  # file of an earlier attempt to go on from
    traceparent: str | None = None  # for services that the engine calls


class RunTasks(msgspec.Struct, tag="run"):
    """Run these in order, or together where the engine can and they are of one shape. An engine with lanes takes each
    order as a whole in one lane: give it one task at a time."""

    tasks: list[Task]


class Cancel(msgspec.Struct, tag="cancel"):
    """Stop these: at once where they have not begun, else at their next `progress()`."""

    seqs: list[int]


class Withdraw(msgspec.Struct, tag="withdraw"):
    """Hand back every task that has not begun."""


ToChild = Load | RunTasks | Cancel | Withdraw


class Ready(msgspec.Struct, tag="ready"):
    """The engine is loaded."""

    load_s: float
    max_batch: int = 1
    engine_version: str = ""
    has_shapes: bool = False  # only some of the tasks may share a run: the engine says which
    lanes: int = 1  # above it, so many tasks run side by side, each by itself, and the next ones need not wait for all


class LoadFailed(msgspec.Struct, tag="load_failed"):
    """The engine cannot be loaded; the child leaves after saying so."""

    code: str  # load_failed or weights_missing
    message: str
    is_config: bool = False  # a wrong setting: another try will end the same
    trace: str | None = None  # for the log: where it came from, unless the message says it all


class Problem(msgspec.Struct, array_like=True):
    """Why a task gave no result; `domain.job.JobError` on its way."""

    code: str
    message: str
    retryable: bool = False
    details: dict[str, Any] = {}

    def as_error(self) -> JobError:
        return JobError(code=self.code, message=self.message, retryable=self.retryable, details=self.details)


class Made(msgspec.Struct, array_like=True):
    """A file the engine made."""

    path: str
    media_type: str
    name: str | None


class TaskResult(msgspec.Struct, array_like=True):
    """How one task ended. Exactly one of: `outputs`, `problem`, `cancelled`, `unbegun`."""

    seq: int
    run_s: float = 0.0
    outputs: bytes | None = None  # msgpack of the JSON form; a file is {"$file": n}
    files: list[Made] = []
    problem: Problem | None = None
    cancelled: bool = False
    unbegun: bool = False
    has_folder: bool = False  # the attempt's folder was made
    together: int = 1  # tasks that shared the run, or the process with it in lanes
    is_shared: bool = False  # `problem` is of the whole run: it does not say whose it is
    trace: str | None = None  # for the log: where the engine's mistake came from; of a shared one, with the first only


class Report(msgspec.Struct, tag="report"):
    """What happened since the last report."""

    running: list[int]  # seqs
    running_s: float  # since when
    progress: list[tuple[int, float, str | None, str | None]]  # seq, fraction, stage, file of a new checkpoint
    results: list[TaskResult]


FromChild = Ready | LoadFailed | Report

_encoder = msgspec.msgpack.Encoder()


def encode(message: ToChild | FromChild) -> bytes:
    """One whole frame."""
    frame = bytearray(LENGTH.size)
    _encoder.encode_into(message, frame, LENGTH.size)
    LENGTH.pack_into(frame, 0, len(frame) - LENGTH.size)
    return bytes(frame)


class FrameBuffer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The bodies of all frames that are complete now."""
        self._bytes += data
        at = 0
        while len(self._bytes) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._bytes, at)
            end = at + LENGTH.size + length
            if end > len(self._bytes):
                break
            yield bytes(self._bytes[at + LENGTH.size : end])
            at = end
        del self._bytes[:at]

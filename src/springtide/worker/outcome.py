"""From a task to the engine's input, and from what the engine gave to a task's result. Runs in the child.

Refuses results that would hurt others: a file outside the attempt's own folder (storing may move it), outputs too large
to travel through the queue, values that no client could read.
"""

from __future__ import annotations

import os.path
import traceback
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.domain.errors import AttemptFailed, CallerError, ConfigError
from springtide.domain.lease import Payload
from springtide.engines.binding import bind_again, collect
from springtide.engines.protocol import Cancelled, InputFile, OutputFile
from springtide.worker.frames import SAFE_DETAILS_BYTES, LoadFailed, Made, Problem, Task, TaskResult

OUTPUT_BYTES_MAX = 1 << 20  # outputs live in the queue, the ledger and every answer: more than this belongs in a file
MESSAGE_CHARS_MAX = 2000
TRACE_CHARS_MAX = 8000  # some eighty lines; the end says most

_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "CUDA out of memory")

_payloads = msgspec.msgpack.Decoder(Payload)
_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


def bind_task(input_type: type[BaseModel], task: Task) -> BaseModel | TaskResult:
    """The engine's input; or the result of a task that cannot be run."""
    try:
        payload = _payloads.decode(task.payload)
        files = {
            ref.id: InputFile(path=Path(task.paths[ref.id]), media_type=ref.media_type, bytes=ref.bytes, name=ref.name)
            for ref in payload.files
        }
        inputs = bind_again(input_type, payload.inputs, files)
    except CallerError as error:
        return TaskResult(task.seq, problem=_problem(error.code, error.message, details=error.details))
    except Exception as error:
        return TaskResult(task.seq, problem=_problem("invalid_input", _text(error)))
    return inputs


def finish_task(output_type: type[BaseModel], task: Task, output: Any, run_s: float) -> TaskResult:
    """The result of a run that returned."""
    if not isinstance(output, output_type):
        message = f"the engine returned {type(output).__name__}, not its Output"
        return TaskResult(task.seq, run_s, problem=_problem("engine_failed", message))
    try:
        outputs, files = collect(output)
        size = len(_json.encode(outputs))
        encoded = _msgpack.encode(outputs)
        made = [_made(file, task.folder) for file in files]
    except Exception as error:
        message = f"the engine's output cannot be used: {_text(error)}"
        return TaskResult(task.seq, run_s, problem=_problem("engine_failed", message))
    if size > OUTPUT_BYTES_MAX:
        message = (
            f"the outputs are {size:,} bytes of JSON; at most {OUTPUT_BYTES_MAX:,} are kept. "
            "Let the engine write them to a file under progress.folder and return it as an OutputFile."
        )
        return TaskResult(task.seq, run_s, problem=_problem("output_too_large", message))
    return TaskResult(task.seq, run_s, outputs=encoded, files=made)


def keep_checkpoint(checkpoint: bytes | Path, folder: str, number: int) -> str:
    """Take a checkpoint of the run in `folder` out of the engine's hands, so that it never changes again; gives the
    file. Raises ValueError for a file that is not the engine's to give."""
    kept = f"{folder}.checkpoint{number}"  # beside the folder: removed with the attempt
    if isinstance(checkpoint, bytes):
        os.makedirs(os.path.dirname(kept), exist_ok=True)  # noqa: PTH103, PTH120 - as text, as below
        with open(kept, "wb") as file:  # noqa: PTH123
            file.write(checkpoint)
    else:
        os.replace(_own_file(checkpoint, folder), kept)  # noqa: PTH105
    return kept


def describe_problem(error: BaseException) -> Problem:
    """What the engine raised, as the platform's own codes."""
    if isinstance(error, CallerError):  # what only the engine could see is wrong with the input
        return _problem(error.code, error.message, details=error.details)
    if isinstance(error, AttemptFailed):
        return _problem(error.code, error.message, retryable=error.retryable, details=error.details)
    if is_memory_death(error):
        return _problem("out_of_memory", f"the engine ran out of memory: {_text(error)}", retryable=True)
    if isinstance(error, SystemExit):
        return _problem("crashed", f"the engine asked to exit with {error.code!r}", retryable=True)
    if isinstance(error, Cancelled):
        return _problem("engine_failed", "the engine raised Cancelled for a job that nobody cancelled")
    return _problem("engine_failed", _text(error))


def describe_load_failure(error: BaseException) -> LoadFailed:
    """Why the engine did not load."""
    is_config = isinstance(error, ConfigError)
    code = "weights_missing" if is_config and error.code == "weights_missing" else "load_failed"
    text = str(error) if is_config and str(error) else _text(error)
    return LoadFailed(code, _cut(text), is_config=is_config, trace=None if is_config else trace_of(error))


def trace_of(error: BaseException) -> str | None:
    """The traceback of what the engine did not mean to raise, for the log."""
    if isinstance(error, CallerError | AttemptFailed | Cancelled):
        return None
    text = "".join(traceback.format_exception(error)).rstrip().encode("utf-8", "replace").decode()
    return text if len(text) <= TRACE_CHARS_MAX else f"…{text[-TRACE_CHARS_MAX:]}"


def is_memory_death(error: BaseException) -> bool:
    """Python's own, torch's (by name: torch is never imported here), and what C++ and CUDA libraries say of it."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in _NO_MEMORY)
    )


def _own_file(given: Path, folder: str) -> str:
    path = os.path.realpath(given)
    if not path.startswith(os.path.realpath(folder) + os.sep):
        raise ValueError(f"{given} is not under progress.folder")
    if not os.path.isfile(path):  # noqa: PTH113 - as text, as above
        raise ValueError(f"there is no file {given.name!r}")
    return path


def _made(file: OutputFile, folder: str) -> Made:
    path = _own_file(file.path, folder)
    return Made(path, file.media_type, file.name or os.path.basename(path))  # noqa: PTH119


def _text(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _problem(code: str, message: str, *, retryable: bool = False, details: dict[str, Any] | None = None) -> Problem:
    """Cut to size, with details that can travel."""
    short = _cut(message)
    try:
        safe = msgspec.to_builtins(details or {}, enc_hook=repr, str_keys=True)
        if len(_msgpack.encode(safe)) > SAFE_DETAILS_BYTES:
            safe = {}
        _json.encode(safe)
    except Exception:  # whatever an engine put there
        safe = {}
    return Problem(code, short, retryable, safe)


def _cut(message: str) -> str:
    short = message if len(message) <= MESSAGE_CHARS_MAX else message[: MESSAGE_CHARS_MAX - 1] + "…"
    return short.encode("utf-8", "replace").decode()  # file names may hold lone surrogates

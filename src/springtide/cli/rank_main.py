"""One process of a gang: `python -m springtide rank fetch|run`. What it is to do comes in variables.

The order is a lease, in a file (on this machine) or in base64 (in a cluster, where a prompt must pass YAML, templates
and Kubernetes' own `$(...)` untouched). All else is what a worker of the model would be told: in one value by who
started it, or from the configuration. Which process of how many it is, torchrun's variables say; in a pod of a TrainJob
some of them have a prefix.
"""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from springtide.domain.errors import ConfigError, SpringtideError
from springtide.domain.lease import Lease
from springtide.fleet.processes import FOLDER, ORDER_FILE
from springtide.runtime.lifeline import die_with

if TYPE_CHECKING:
    from springtide.cli.worker_main import WorkerSpec
    from springtide.engines.groups import Group

ORDER = "SPRINGTIDE_RANK_ORDER"  # the same in base64
DEFAULT_FOLDER = "/scratch"
TERMINATED_EXIT = 143


def main() -> None:
    """Never returns."""
    from springtide.cli.process import set_up_logging

    phase = sys.argv[2] if len(sys.argv) > 2 else ""
    set_up_logging(f"rank {os.environ.get('RANK', phase)}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # the first process of a container has no other end than its own
    faulthandler.enable()
    try:
        if phase not in {"fetch", "run"}:
            raise ConfigError(f"rank takes `fetch` or `run`, not {phase!r}")
        code = _rank(phase)
    except SpringtideError as error:
        sys.stderr.write(f"{error}\n")
        code = 1
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(code)  # threads of libraries, and a thousand modules, need not be taken down one by one


def _rank(phase: str) -> int:
    from springtide.cli.worker_main import blob_store, connect
    from springtide.runtime.chance import draw
    from springtide.runtime.clock import SystemClock
    from springtide.worker.rank import Rank
    from springtide.worker.rank_line import RankLine

    lease = _order()
    if ORDER_FILE in os.environ:
        _hold_on_to_parent()
    spec = _spec(lease)
    [settings] = spec.models
    folder = Path(os.environ.get(FOLDER, DEFAULT_FOLDER))
    line = RankLine(
        lease,
        folder,
        broker=connect(spec.broker),
        blobs=blob_store(spec.blobs),
        clock=SystemClock(),
        rand=draw,
        retry=settings.retry,
    )
    line.start()
    rank = Rank(settings, lease, folder, group=_group(settings.gang.gpus_each if settings.gang else 0), line=line)
    gc.freeze()
    code = rank.fetch() if phase == "fetch" else rank.run()
    with contextlib.suppress(SpringtideError):
        line.stop()
    return code


def _order() -> Lease:
    file, text = os.environ.get(ORDER_FILE), os.environ.pop(ORDER, None)
    if file is not None:
        return msgspec.msgpack.decode(Path(file).read_bytes(), type=Lease)
    if text is None:
        raise ConfigError(f"neither {ORDER} nor {ORDER_FILE} says what to do")
    return msgspec.msgpack.decode(base64.b64decode(text), type=Lease)


def _spec(lease: Lease) -> WorkerSpec:
    from springtide.cli.worker_main import VARIABLE, WorkerSpec

    told = os.environ.pop(VARIABLE, None)
    if told is not None:
        return WorkerSpec.from_json(told)
    from springtide.cli import build
    from springtide.cli.worker_specs import worker_spec

    return worker_spec(build.load(), lease.model, lease.worker)


def _group(gpus_each: int) -> Group:
    from springtide.engines.groups import Group

    def said(name: str, otherwise: str) -> str:
        return os.environ.get(name) or os.environ.get(f"PET_{name}") or otherwise

    rank = said("RANK", said("NODE_RANK", "0"))
    local_rank = int(said("LOCAL_RANK", "0"))
    told = {
        "RANK": rank,
        "LOCAL_RANK": str(local_rank),
        "WORLD_SIZE": said("WORLD_SIZE", said("NNODES", "1")),
        "MASTER_ADDR": said("MASTER_ADDR", "127.0.0.1"),
        "MASTER_PORT": said("MASTER_PORT", "29500"),
    }
    os.environ.update(told)  # for libraries that read them
    first = local_rank * gpus_each
    return Group(
        rank=int(rank),
        size=int(told["WORLD_SIZE"]),
        local_rank=local_rank,
        devices=tuple(range(first, first + gpus_each)),
        master_addr=told["MASTER_ADDR"],
        master_port=int(told["MASTER_PORT"]),
    )


def _hold_on_to_parent() -> None:
    """The standard input is the lifeline to the worker that started this process."""
    die_with(0)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os._exit(TERMINATED_EXIT)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(TERMINATED_EXIT)

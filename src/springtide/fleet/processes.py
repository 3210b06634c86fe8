"""Gangs as processes of this machine, each told by variables what torchrun would tell it.

    groups folder/<worker>/
    ├── .lock                       locked (flock) for as long as that worker lives
    └── job-<id>-<attempt>/
        ├── order                   the lease, as the ranks read it
        ├── ranks.json              their process ids, for whoever has to clean up
        ├── rank-<n>.log            what they print
        └── in/, out-<n>/           fetched inputs, and each rank's own folder

Promises: a rank that is lost takes its gang along; so does the worker, however it dies: each rank's standard input is
its lifeline. What a dead worker left all the same is listed, and stopped like any other gang.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.errors import ConfigError, OutcomeUnknown
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import Lease
from springtide.fleet.devices import VARIABLE as DEVICES
from springtide.fleet.gangs import REPORTED_EXIT, GangPhase, GangShape, GangView, attempt_of, gang_name, has_files

log = logging.getLogger(__name__)

ORDER_FILE, FOLDER = "SPRINGTIDE_RANK_ORDER_FILE", "SPRINGTIDE_RANK_FOLDER"
STOP_GRACE_S = 2.0  # between being asked to end and being ended
STRAGGLERS_S = 5.0  # other ranks, once rank 0 has reported: what they still do is lost
TAIL_BYTES = 4096  # of what a rank printed, for crash reports
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class _Gang:
    """One that was started here."""

    def __init__(self, view: GangView, folder: Path, *, has_files: bool) -> None:
        self.view = view
        self.folder = folder
        self.has_files = has_files  # to fetch before it runs
        self.news = asyncio.Event()
        self.processes: dict[asyncio.subprocess.Process, int] = {}  # -> rank; -1 fetches inputs
        self.life: asyncio.Task[None] | None = None
        self.slot = 0

    def become(self, phase: GangPhase, *, error: JobError | None = None) -> None:
        if not self.view.is_over:
            self.view = msgspec.structs.replace(self.view, phase=phase, error=error, message="")
            self.news.set()
            self.news = asyncio.Event()


class LocalGangs:
    """`Gangs` of one worker."""

    def __init__(
        self, folder: Path, worker: WorkerId, shape: GangShape, *, argv: Sequence[str], clock: Clock, **variables: str
    ) -> None:
        """folder: of all workers' gangs. argv: a rank's command, to which `fetch` or `run` is added. variables: for its
        environment, on top of this process's."""
        self._all = folder.absolute()
        self._own = self._all / _UNSAFE.sub("_", worker)
        self._worker = worker
        self._shape = shape
        self._argv = tuple(argv)
        self._clock = clock
        self._variables = variables
        self._gangs: dict[str, _Gang] = {}
        self._lock: int | None = None

    async def open(self) -> None:
        if self._lock is not None:
            return
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._own / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"the groups' folder {self._own} cannot be used: {error.strerror}") from error
        self._lock = lock

    async def close(self) -> None:
        if self._lock is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    async def start(self, lease: Lease) -> GangView:
        name = gang_name(lease.id, lease.attempt)
        if name not in self._gangs:
            folder = self._own / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "order").write_bytes(msgspec.msgpack.encode(lease))
            view = GangView(
                name=name, job=lease.id, attempt=lease.attempt, worker=self._worker, phase=GangPhase.PENDING
            )
            gang = self._gangs[name] = _Gang(view, folder, has_files=has_files(lease))
            taken = {other.slot for other in self._gangs.values() if other is not gang}
            gang.slot = next(slot for slot in range(len(taken) + 1) if slot not in taken)
            gang.life = asyncio.create_task(self._live(gang), name=name)
        return self._gangs[name].view

    async def change(self, seen: GangView) -> GangView:
        while True:
            gang = self._gangs.get(seen.name)
            if gang is None:
                error = JobError(code="worker_lost", message="its group is gone", retryable=True)
                return msgspec.structs.replace(seen, phase=GangPhase.FAILED, error=error)
            if gang.view != seen:
                return gang.view
            await gang.news.wait()

    async def stop(self, name: str) -> None:
        gang = self._gangs.get(name)
        if gang is None:
            await asyncio.to_thread(self._stop_left, name)
            return
        if gang.life is not None:
            gang.life.cancel()
            await asyncio.wait([gang.life])
        self._gangs.pop(name, None)
        await asyncio.to_thread(shutil.rmtree, gang.folder, ignore_errors=True)

    async def list(self) -> list[GangView]:
        left = await asyncio.to_thread(self._left)
        return [*(gang.view for gang in self._gangs.values()), *left]

    # --- one gang ---------------------------------------------------------------------------------------------------

    async def _live(self, gang: _Gang) -> None:
        """From the first process to the last. Ends with none of them left, whatever happens."""
        try:
            if gang.has_files:
                fetching = await self._spawn(gang, -1, "fetch", {})
                code = await fetching.wait()
                if code != 0:
                    self._conclude(gang, fetching, code)
                    return
                gang.processes.clear()
            port = _free_port()
            for rank in range(self._shape.processes):
                await self._spawn(gang, rank, "run", self._variables_of(gang, rank, port))
            gang.become(GangPhase.RUNNING)
            await self._watch(gang)
        except OSError as error:  # no processes or memory left
            log.warning("%s: a rank cannot be started: %s", gang.view.name, error)
            message = f"a process of the group cannot be started: {error.strerror}"
            gang.become(GangPhase.FAILED, error=JobError(code="crashed", message=message, retryable=True))
        finally:
            await asyncio.shield(asyncio.ensure_future(self._end(gang)))

    async def _watch(self, gang: _Gang) -> None:
        waits = {asyncio.create_task(process.wait()): process for process in gang.processes}
        try:
            while waits and not gang.view.is_over:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                # A loss beside a report: the first rank to fall is named, the lowest of those that fell together.
                for wait in sorted(done, key=lambda one: gang.processes[waits[one]]):
                    process = waits.pop(wait)
                    if gang.processes[process] == 0 or process.returncode != 0:
                        self._conclude(gang, process, wait.result())
            if gang.view.phase is GangPhase.SUCCEEDED and waits:
                await self._all_or(waits, STRAGGLERS_S)
        finally:
            for wait in waits:
                wait.cancel()

    def _conclude(self, gang: _Gang, process: asyncio.subprocess.Process, code: int) -> None:
        rank = gang.processes[process]
        who = "the fetching of its inputs" if rank < 0 else f"rank {rank} of {self._shape.processes}"
        if code == REPORTED_EXIT:
            log.warning("%s: %s has failed:\n%s", gang.view.name, who, _tail(gang.folder / _log_name(rank)))
        if code in (0, REPORTED_EXIT):
            gang.become(GangPhase.SUCCEEDED)
            return
        end = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        printed = _tail(gang.folder / _log_name(rank))
        details: dict[str, Any] = {"rank": rank} if rank >= 0 else {}
        details |= {"signal": _signal_name(-code)} if code < 0 else {"exit_code": code}
        details |= {"stderr": printed} if printed else {}
        log.warning("%s: %s %s%s", gang.view.name, who, end, f"; its last words:\n{printed}" if printed else "")
        message = f"{who} {end}"
        gang.become(GangPhase.FAILED, error=JobError(code="crashed", message=message, retryable=True, details=details))

    async def _spawn(
        self, gang: _Gang, rank: int, phase: str, variables: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        told = {ORDER_FILE: str(gang.folder / "order"), FOLDER: str(gang.folder)}
        with (gang.folder / _log_name(rank)).open("wb") as printed:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                phase,
                env={**os.environ, **self._variables, **told, **variables},
                stdin=asyncio.subprocess.PIPE,  # the lifeline
                stdout=printed,
                stderr=printed,
                start_new_session=True,  # one signal ends it with all that it starts
            )
        gang.processes[process] = rank
        noted = [[one.pid, _started(one.pid)] for one in gang.processes]
        (gang.folder / "ranks.json").write_text(json.dumps(noted))
        return process

    def _variables_of(self, gang: _Gang, rank: int, port: int) -> dict[str, str]:
        size, each = self._shape.processes, self._shape.gpus_each
        variables = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "GROUP_RANK": "0",
        }
        shown = [name for name in os.environ.get(DEVICES, "").split(",") if name]
        if shown and each:  # of those that this worker may use, the ones of this gang
            first = gang.slot * size * each
            variables[DEVICES] = ",".join(shown[first : first + size * each] or shown)
        return variables

    async def _end(self, gang: _Gang) -> None:
        """None of its processes is left."""
        there = [process for process in gang.processes if process.returncode is None]
        for process in there:
            _signal(process.pid, signal.SIGTERM)
        if there:
            ends = [asyncio.create_task(process.wait()) for process in there]
            await self._all_or(ends, STOP_GRACE_S)
            for process in there:
                _signal(process.pid, signal.SIGKILL)
            await asyncio.wait(ends)
        for process in gang.processes:
            _signal(process.pid, signal.SIGKILL)  # what they started and left
            if process.stdin is not None:
                process.stdin.close()

    async def _all_or(self, waits: Iterable[asyncio.Task[int]], most_s: float) -> None:
        """Until all are done, or for so long."""
        both = [asyncio.ensure_future(asyncio.wait(waits)), asyncio.ensure_future(self._clock.sleep(most_s))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()

    # --- what dead workers left -------------------------------------------------------------------------------------

    def _left(self) -> list[GangView]:
        """Gangs of workers whose lock nobody holds; folders of such workers without any are removed."""
        views: list[GangView] = []
        for folder in sorted(self._all.iterdir()) if self._all.exists() else ():
            if folder == self._own or not folder.is_dir() or _is_held(folder / ".lock"):
                continue
            names = {child.name: found for child in folder.iterdir() if (found := attempt_of(child.name))}
            if not names:
                shutil.rmtree(folder, ignore_errors=True)
            views += [
                GangView(
                    name=name,
                    job=job,
                    attempt=attempt,
                    worker=WorkerId(folder.name),
                    phase=GangPhase.FAILED,
                    is_orphan=True,
                )
                for name, (job, attempt) in names.items()
            ]
        return views

    def _stop_left(self, name: str) -> None:
        for folder in self._all.glob(f"*/{name}"):
            if folder.parent == self._own or _is_held(folder.parent / ".lock"):
                continue
            with contextlib.suppress(OSError, ValueError):
                for pid, started in json.loads((folder / "ranks.json").read_text()):
                    if _started(pid) == started:
                        log.warning("%s: killing process %d, left by a worker that is gone", name, pid)
                        _signal(pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _started(pid: int) -> float | None:
    """When a process began: its number may be another one's by now."""
    import psutil

    try:
        return round(psutil.Process(pid).create_time(), 2)
    except psutil.Error:
        return None


def _is_held(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise OutcomeUnknown(f"{lock} cannot be locked: {error.strerror}") from error
    finally:
        os.close(handle)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _log_name(rank: int) -> str:
    return "fetch.log" if rank < 0 else f"rank-{rank}.log"


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace").strip()
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

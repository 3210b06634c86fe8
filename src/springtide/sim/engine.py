"""The simulated engine: a child process that spends virtual time and ends as its job says.

It takes the place of `worker.child.Child` under the real supervisor, and behaves as `worker.child_main` does: tasks in
order or in groups, progress, cancels heeded at the next progress, what was running shared with the supervisor, the last
words heard before the exit. Every result carries who made it, so that a stale one cannot hide.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.domain.lease import Payload
from springtide.engines.places import FILE_KEY
from springtide.engines.protocol import Engine, OutputFile, Progress
from springtide.sim.nodes import Node
from springtide.worker.frames import (
    Cancel,
    FromChild,
    Load,
    LoadFailed,
    Made,
    Problem,
    Ready,
    Report,
    RunTasks,
    Task,
    TaskResult,
    ToChild,
    Withdraw,
)

SEGFAULT = -11
KILLED = -9
_payloads = msgspec.msgpack.Decoder(Payload)


class Do(StrEnum):
    """How a job ends, once its time is spent."""

    OK = "ok"
    FILE = "file"  # ok, with a file
    FAIL = "fail"  # not worth another attempt
    STUMBLE = "stumble"  # fails the first time, in a way that is worth another
    CRASH = "crash"  # takes the process with it, each time
    HANG = "hang"  # never ends, heeds nothing
    DEAF = "deaf"  # ends, but heeds no cancel
    TIRE = "tire"  # leaves checkpoints, and dies half way unless it went on from one
    GREEDY = "greedy"  # needs more memory than there is, unless it runs by itself


class SimInput(BaseModel):
    """What to spend, and how to end."""

    tag: str
    seconds: float = 1.0
    foreseen_s: float | None = None  # what the engine says it will take; None: it knows
    steps: int = 4
    do: Do = Do.OK


class SimOutput(BaseModel):
    """Who made it, and from what."""

    tag: str
    worker: str
    attempt: int
    file: OutputFile | None = None


class SimEngine(Engine[SimInput, SimOutput]):
    """For the gateway: its input model and its estimate. Never loaded."""

    title = "Simulated"

    def load(self) -> None: ...

    def run(self, inputs: SimInput, progress: Progress) -> SimOutput:
        raise NotImplementedError("simulated workers run it: no child process ever does")

    def estimate(self, inputs: SimInput) -> float:
        return inputs.seconds if inputs.foreseen_s is None else inputs.foreseen_s


def checkpoint_step(path: str | None) -> int:
    """How far the run was that left this checkpoint."""
    return 0 if path is None else int(PurePath(path).name.split(".")[1])


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What engines are like on this hardware."""

    load_s: tuple[float, float] = (1.0, 6.0)
    load_fails: float = 0.0  # share of loads that end in an error
    load_dies: float = 0.0  # or in the death of the process
    max_batch: int = 1


class SimChild:
    """One life of an engine's process."""

    def __init__(self, node: Node, machine: Machine, ran: Callable[[str, Task, str], None], on_message: Any) -> None:
        """ran: told of every run that begins (worker, task, the job's tag)."""
        self.pid = node.rand.randrange(1000, 32000)
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._node = node
        self._machine = machine
        self._ran = ran
        self._on_message: Callable[[FromChild], None] = on_message
        self._orders = asyncio.Event()
        self._waiting: deque[Task] = deque()
        self._running: tuple[int, ...] = ()
        self._cancelled: dict[int, None] = {}
        self._heard = asyncio.Event()
        self._words: asyncio.Queue[FromChild | None] = asyncio.Queue()
        self._load: Load | None = None
        self._code: int | None = None
        self._life = node.spawn(self._live())
        self._voice = node.spawn(self._speak())

    # --- what the supervisor asks ---------------------------------------------------------------------------------

    def send(self, message: ToChild) -> None:
        match message:
            case Load():
                self._load = message
            case RunTasks(tasks):
                self._waiting.extend(tasks)
            case Cancel(seqs):
                for seq in seqs:
                    self._cancel(seq)
            case Withdraw():
                gone, self._waiting = self._waiting, deque()
                self._report(*(TaskResult(task.seq, unbegun=True) for task in gone))
        self._orders.set()

    def running(self) -> tuple[int, ...]:
        return self._running

    def memory(self) -> None:
        """It holds none."""

    def kill(self) -> None:
        self.die(KILLED)

    def printed(self) -> str:
        return ""

    def forget_printed(self) -> None: ...

    @property
    def is_alive(self) -> bool:
        return self._code is None and self._node.is_alive

    # --- its life -------------------------------------------------------------------------------------------------

    def die(self, code: int) -> None:
        """It ends here; what it has said before is still heard."""
        if self._code is None:
            self._code = code
            self._life.cancel()
            self._words.put_nowait(None)

    async def _live(self) -> None:
        rand, machine = self._node.rand, self._machine
        while self._load is None:
            await self._next_order()
        load_s = rand.uniform(*machine.load_s)
        await asyncio.sleep(load_s)
        if rand.random() < machine.load_dies:
            self.die(SEGFAULT)
        if rand.random() < machine.load_fails:
            self._say(LoadFailed("load_failed", "simulated: the weights cannot be read"))
            self.die(0)
        self._say(Ready(load_s, machine.max_batch))
        while True:
            while not self._waiting:
                await self._next_order()
            group = self._next_group()
            self._running = tuple(task.seq for task in group)
            self._report()
            await self._run(group)
            if not self._waiting:
                self._running = ()
                self._report()

    async def _next_order(self) -> None:
        self._orders.clear()
        await self._orders.wait()

    def _next_group(self) -> list[Task]:
        group = [self._waiting.popleft()]
        while self._waiting and len(group) < self._machine.max_batch:
            if min(self._waiting[0].together, group[0].together) <= len(group):
                break
            group.append(self._waiting.popleft())
        return group

    async def _run(self, group: list[Task]) -> None:
        jobs = [SimInput.model_validate(_payloads.decode(task.payload).inputs) for task in group]
        for task, job in zip(group, jobs, strict=True):
            self._ran(self._node.name, task, job.tag)
        seconds = max(job.seconds for job in jobs)
        steps = max(job.steps for job in jobs)
        may_stop = len(group) == 1 and jobs[0].do not in (Do.DEAF, Do.HANG)
        first = checkpoint_step(group[0].checkpoint) if len(group) == 1 else 0
        for step in range(first, steps):
            if may_stop and group[0].seq in self._cancelled:
                self._report(TaskResult(group[0].seq, seconds * step / steps, cancelled=True))
                return
            self._heard.clear()
            sleeping = asyncio.ensure_future(asyncio.sleep(seconds / steps))
            hearing = asyncio.ensure_future(self._heard.wait() if may_stop else asyncio.Event().wait())
            try:
                await asyncio.wait((sleeping, hearing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                hearing.cancel()
            self._progress(group, jobs, step + 1, steps)
            if not first and 2 * (step + 1) >= steps and any(job.do is Do.TIRE for job in jobs):
                await asyncio.sleep(1.0)  # for the checkpoint to be stored
                self.die(SEGFAULT)
                await asyncio.Event().wait()
        if any(job.do is Do.HANG for job in jobs):
            await asyncio.Event().wait()
        if any(job.do is Do.CRASH for job in jobs):
            self.die(SEGFAULT)
            await asyncio.Event().wait()
        if len(group) > 1 and any(job.do is Do.GREEDY for job in jobs):
            problem = Problem("out_of_memory", "as the job asked", retryable=True)
            results = [TaskResult(task.seq, seconds, problem=problem, is_shared=True) for task in group]
        else:
            results = [self._result(task, job) for task, job in zip(group, jobs, strict=True)]
        for result in results:
            result.together = len(group)
        self._report(*results)

    def _result(self, task: Task, job: SimInput) -> TaskResult:
        _, attempt, _ = PurePath(task.folder).parent.name.rsplit("-", 2)
        match job.do:
            case Do.FAIL:
                return TaskResult(task.seq, job.seconds, problem=Problem("engine_failed", "as the job asked"))
            case Do.STUMBLE if attempt == "1":
                problem = Problem("engine_failed", "as the job asked", retryable=True)
                return TaskResult(task.seq, job.seconds, problem=problem)
            case _:
                outputs: Mapping[str, Any] = {"tag": job.tag, "worker": self._node.name, "attempt": int(attempt)}
        if job.do is not Do.FILE:
            return TaskResult(task.seq, job.seconds, outputs=msgspec.msgpack.encode({**outputs, "file": None}))
        encoded = msgspec.msgpack.encode({**outputs, "file": {FILE_KEY: 0}})
        made = Made(f"{task.folder}/{job.tag}.bin", "application/octet-stream", None)
        return TaskResult(task.seq, job.seconds, outputs=encoded, files=[made])

    def _cancel(self, seq: int) -> None:
        for task in self._waiting:
            if task.seq == seq:
                self._waiting.remove(task)
                self._report(TaskResult(seq, cancelled=True))
                return
        self._cancelled[seq] = None
        self._heard.set()

    # --- its words ------------------------------------------------------------------------------------------------

    def _progress(self, group: list[Task], jobs: list[SimInput], step: int, steps: int) -> None:
        told: list[tuple[int, float, str | None, str | None]] = []
        for task, job in zip(group, jobs, strict=True):
            kept = f"{task.folder}/{job.tag}.{step}.checkpoint" if job.do is Do.TIRE else None
            told.append((task.seq, step / steps, "work", kept))
        self._report(progress=told)

    def _report(
        self, *results: TaskResult, progress: list[tuple[int, float, str | None, str | None]] | None = None
    ) -> None:
        self._say(Report(list(self._running), 0.0, progress or [], list(results)))

    def _say(self, message: FromChild) -> None:
        if self._code is None:
            self._words.put_nowait(message)

    async def _speak(self) -> None:
        """In order, each a moment after it was said."""
        while (message := await self._words.get()) is not None:
            await asyncio.sleep(self._node.rand.uniform(0.0001, 0.003))
            self._on_message(message)
        assert self._code is not None
        self.exited.set_result(self._code)

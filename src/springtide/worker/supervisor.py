"""Keeps one child process with the loaded engine alive, and tells how each run in it ended.

Promises:

- Every run that was dispatched comes back as exactly one ending, whatever happens to the child.
- A time limit counts from the moment the run begins. Whoever overstays, or does not heed a cancel, is killed.
- A death is reported as what it was: out of memory, a signal, an exit code, a time limit; on the run that was running.
- A dead child is replaced at once; one that does not load is tried again ever more slowly, for ever, and said to be
  failing; after `load_attempts` in vain it is given up on, which a load that works takes back.

The worker's event loop never waits for the engine: heartbeats go on through anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from springtide.domain.clock import Clock
from springtide.domain.job import JobError
from springtide.engines.signing import SigningPlace
from springtide.runtime.backoff import Backoff
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import BATCH_JOBS, ENGINE_DEATHS, ENGINE_STARTS
from springtide.worker.batch_size import BatchSize
from springtide.worker.child import Child
from springtide.worker.frames import (
    Cancel,
    FromChild,
    Load,
    LoadFailed,
    Problem,
    Ready,
    Report,
    RunTasks,
    Task,
    TaskResult,
    ToChild,
    Withdraw,
)
from springtide.worker.memory_watch import Memory, oom_kills
from springtide.worker.run import Ending, Run, Stop, endings_after_death, hand_back, timed_out

log = logging.getLogger(__name__)

WATCH_EVERY_S = 0.25  # of memory and time limits, while something runs: a sample costs 50 µs
CANCEL_GRACE_S = 5.0  # for an engine to come by its next progress(); then its process is killed
TIMEOUT_GRACE_S = 1.0  # the same for a time limit: a model that stays loaded is worth a second
FAILING_AFTER = 3  # loads in a row that went wrong: one may be bad luck, two a slow disk
_ADDRESS = re.compile("0x[0-9a-f]+")  # of an object: another one in every process
TURN_FADES = 0.7  # a turn: a slow one is forgotten after a dozen quick ones
_BESIDE = JobError(code="crashed", message="killed for another job beside it", retryable=True)
SETTLED_S = 60.0  # a child that dies idle before this is counted as one that did not load


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to load, and its limits."""

    model: str  # for the log
    engine_reference: str
    settings: dict[str, Any]
    weights_folder: Path
    accept_non_commercial: bool = False
    signing: SigningPlace | None = None
    load_timeout_s: float = 300.0
    load_attempts: int = 6
    warm_up: bool = False
    memory_limit_mb: int | None = None
    batch: int = 1


class Listener(Protocol):
    """Who is told. Called in the event loop; must not wait."""

    def on_progress(self, run: Run, fraction: float, stage: str | None, checkpoint: str | None = None) -> None:
        """checkpoint: a file that the engine has left for the next attempt."""
        ...

    def on_endings(self, endings: Sequence[Ending]) -> None: ...

    def on_child(self) -> None:
        """The child became ready, idle or dead, or does not load."""
        ...

    def on_ghost(self, run: Run) -> None:
        """A run that was reported as cancelled while its batch ran on has now really ended."""
        ...


class ChildProcess(Protocol):
    """What is supervised: `worker.child.Child`, or a simulated one."""

    pid: int
    exited: asyncio.Future[int]  # its exit code, set once everything it said has been heard

    def send(self, message: ToChild) -> None: ...

    def running(self) -> tuple[int, ...]: ...

    def memory(self) -> Memory | None: ...

    def kill(self) -> None: ...

    def printed(self) -> str: ...

    def forget_printed(self) -> None: ...


StartChild = Callable[[str, Callable[[FromChild], None]], Awaitable[ChildProcess]]


class Supervisor:
    """Runs the child. `start`, `dispatch` whenever `is_idle` or, with lanes, what it `takes`, `stop`."""

    def __init__(
        self,
        spec: EngineSpec,
        listener: Listener,
        clock: Clock,
        *,
        start_child: StartChild = Child.start,
        metrics: Metrics | None = None,
    ) -> None:
        self._metrics = metrics or Metrics()
        self._counted = 0  # of the batch whose results are being told
        self._spec = spec
        self._listener = listener
        self._clock = clock
        self._start_child = start_child
        self._child: ChildProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._runs: dict[int, Run] = {}
        self._ghosts: dict[int, Run] = {}
        self._last_seq = 0
        self._batch_size = BatchSize(spec.batch)
        self._busy = asyncio.Event()
        self._running: tuple[int, ...] = ()
        self._began_s: dict[int, float] = {}  # of each that runs
        self._engine_version = ""
        self._peak_mb: float | None = None
        self._verdict: JobError | None = None  # why we killed the child
        self._backoff = Backoff(0.5, 60.0)
        self._failed_starts = 0
        self._started_s = 0.0
        self._oom_kills: int | None = None
        self._has_run = False
        self._told_trace: str | None = None  # of the last load that failed
        self._load_failed: LoadFailed | None = None
        self._failed_loads = 0  # in a row
        self.is_ready = False
        self.is_failing = False
        self.has_shapes = False  # the engine lets only like jobs share a run
        self.lanes = 1  # above it, jobs run side by side, each by itself
        self.problem: JobError | None = None  # why the engine did not load the last time
        self.load_s: float | None = None
        self.memory_mb: float | None = None  # the most that the last child to load has held
        self.ready_at_s: float | None = None  # monotonic; None while it is not
        self.ready_after_s: float | None = None  # from the child's start, the load included
        self.turn_s: float | None = (
            None  # how long what was dispatched together took of late, the slow more than the quick
        )
        self._dispatched_s = 0.0

    async def start(self) -> None:
        self._task = asyncio.create_task(self._keep_alive(), name="supervisor")

    async def stop(self) -> None:
        """Kill the child. Runs in it end nowhere: nobody is told of them. It may be started again."""
        task, self._task = self._task, None
        self.is_ready, self.ready_at_s = False, None
        if task is None:
            return
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    @property
    def is_idle(self) -> bool:
        """Ready, and nothing is in the child."""
        return self.is_ready and not self._runs

    @property
    def room(self) -> int:
        """How many more jobs it could begin now. Those that share a run wait until the one before is over."""
        if self.lanes == 1:
            return self._spec.batch if self.is_idle else 0
        return max(0, self._batch_size.now - len(self._runs)) if self.is_ready and not self._ghosts else 0

    def takes(self, run: Run) -> bool:
        """Whether `run` may begin beside what runs in other lanes. One that must run by itself waits for the others, as
        they do for it; and nothing begins beside one that did not heed its cancel: once alone, it is killed."""
        most = min(one.together for one in (run, *self._runs.values()))
        return self.room > 0 and len(self._runs) < most

    @property
    def most_together(self) -> int:
        """How many jobs may share a run now."""
        return self._batch_size.now

    @property
    def is_given_up(self) -> bool:
        """Nobody should wait for it to load, though it is still tried."""
        return not self.is_ready and self._failed_loads >= self._spec.load_attempts

    @property
    def facts(self) -> dict[str, Any]:
        """What a failure that happens now should say of the engine, for whoever wants to see it happen again."""
        facts: dict[str, Any] = {"engine": self._spec.engine_reference, "engine_version": self._engine_version}
        return facts if self._peak_mb is None else {**facts, "peak_mb": round(self._peak_mb)}

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def dispatch(self, runs: Sequence[Run]) -> None:
        """Give the child work. Only while `is_idle`, or what it `takes`."""
        assert self.is_idle or self.lanes > 1
        assert self._child is not None
        tasks: list[Task] = []
        for run in runs:
            self._last_seq += 1
            run.seq = self._last_seq
            self._runs[run.seq] = run
            together = min(run.together, self._batch_size.now)
            handed = (run.payload, run.paths, run.folder, together, run.checkpoint, run.traceparent)
            tasks.append(Task(run.seq, *handed))
        self._child.forget_printed()  # a crash report must not show what another tenant's job printed
        for order in [tasks] if self.lanes == 1 else [[task] for task in tasks]:
            self._child.send(RunTasks(order))
        self._dispatched_s = self._clock.monotonic_s()
        self._busy.set()

    def cancel(self, run: Run) -> None:
        """Stop a dispatched run: before it begins, at its next progress(), or by force."""
        self._stop_run(run, Stop.CANCELLED, CANCEL_GRACE_S)

    def withdraw(self) -> None:
        """Ask for everything back that has not begun: it ends as `unbegun`."""
        if self._child is not None and self._runs:
            self._child.send(Withdraw())

    # --- one life after another ---------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        while True:
            try:
                await self._live_once()
            except (OSError, EOFError) as error:  # no processes or file descriptors left; the forkserver died
                is_dead = isinstance(error, EOFError | ConnectionError)
                text = "it ended while it imported the engine" if is_dead else str(error)
                self._note_failed_load("load_failed", f"the engine's process cannot be started: {text}")
                self._listener.on_child()
            if self._failed_starts > 1:  # the first time at once
                await self._clock.sleep(self._backoff.next_s())

    async def _live_once(self) -> None:
        self._started_s = self._clock.monotonic_s()
        self._oom_kills = oom_kills()
        self._verdict = self._load_failed = None
        self._has_run = False
        self._peak_mb = None
        child = self._child = await self._start_child(self._spec.engine_reference, self._on_message)
        spec = self._spec
        folder = str(spec.weights_folder)
        child.send(
            Load(spec.engine_reference, spec.settings, folder, spec.accept_non_commercial, spec.signing, spec.warm_up)
        )
        self._watcher = asyncio.create_task(self._watch(child), name="child watch")
        self._watcher.add_done_callback(_log_failure)
        try:
            code = await asyncio.shield(child.exited)
        except asyncio.CancelledError:
            child.kill()
            self._runs.clear()
            await child.exited
            raise
        finally:
            self._watcher.cancel()
            self._child = None
        self._after_death(child, code)

    def _after_death(self, child: ChildProcess, code: int) -> None:
        was_ready, self.is_ready, self.ready_at_s = self.is_ready, False, None
        error = self._verdict or self._cause_of_death(child, code)
        why = self._load_failed.code if not was_ready and self._load_failed is not None else error.code
        self._metrics.add(ENGINE_DEATHS, self._spec.model, why)
        lived_s = self._clock.monotonic_s() - self._started_s
        if not was_ready and self._load_failed is not None:
            self._note_failed_load(self._load_failed.code, self._load_failed.message)
        elif not was_ready and error.code == "load_timed_out":
            self._note_failed_load(error.code, error.message)
        elif not was_ready:
            self._note_failed_load("load_failed", f"{error.message} while it loaded the engine")
        elif self._runs:
            jobs = ", ".join(f"job {run.id}, attempt {run.attempt}" for run in self._runs.values())
            said = error.details.get("stderr")
            last_words = f"; its last words:\n{said}" if said else ""
            log.warning("the engine's process has ended while it ran (%s): %s%s", jobs, error.message, last_words)
        elif not self._has_run and lived_s < SETTLED_S:
            self._note_failed_start("load_failed", f"it loaded, then its idle process died: {error.message}")
        else:
            log.warning("the engine's idle process has ended: %s", error.message)
        runs, self._runs = list(self._runs.values()), {}
        ghosts, self._ghosts = list(self._ghosts.values()), {}
        self._busy.clear()
        running = child.running()
        if error.code == "out_of_memory" and running:
            self._batch_size.ran_out(len(running))
        if runs:
            self._listener.on_endings(endings_after_death(runs, running, error))
        for run in ghosts:
            self._listener.on_ghost(run)
        self._listener.on_child()

    def _note_failed_load(self, code: str, message: str) -> None:
        self._failed_loads += 1
        self._note_failed_start(code, message)

    def _note_failed_start(self, code: str, message: str) -> None:
        self._failed_starts += 1
        is_config = self._load_failed is not None and self._load_failed.is_config
        self.is_failing = self.is_failing or is_config or self.is_given_up or self._failed_starts >= FAILING_AFTER
        counts = {"failed_loads": self._failed_loads, "load_attempts": self._spec.load_attempts}
        # Retryable: the very same job will run once the operator has mended it.
        self.problem = JobError(code=code, message=message, retryable=True, details=counts)
        log.error("the engine is not up (%d in a row): %s", self._failed_starts, message)

    def _cause_of_death(self, child: ChildProcess, code: int) -> JobError:
        printed = child.printed()
        details: dict[str, Any] = {"stderr": printed} if printed else {}
        if code >= 0:
            message = f"the engine's process ended with exit code {code}"
            return JobError(code="crashed", message=message, retryable=True, details={**details, "exit_code": code})
        name = _signal_name(-code)
        before, after = self._oom_kills, oom_kills()
        if code == -signal.SIGKILL and before is not None and after is not None and after > before:
            message = "the system ran out of memory and killed the engine's process"
            return JobError(code="out_of_memory", message=message, retryable=True, details=details)
        if code == -signal.SIGABRT and "bad_alloc" in printed:
            message = "the engine ran out of memory (std::bad_alloc)"
            return JobError(code="out_of_memory", message=message, retryable=True, details=details)
        message = f"the engine's process was ended by {name}"
        return JobError(code="crashed", message=message, retryable=True, details={**details, "signal": name})

    # --- what the child says ------------------------------------------------------------------------------------

    def _on_message(self, message: FromChild) -> None:
        match message:
            case Report():
                self._on_report(message)
            case Ready(load_s, max_batch, version, has_shapes, lanes):
                self._engine_version = version
                self._note_memory()
                self._batch_size.fit(max(max_batch, lanes))
                self.has_shapes, self.lanes = has_shapes, lanes
                self.is_ready, self.is_failing, self.problem = True, False, None
                self._told_trace = None
                self.ready_at_s = self._clock.monotonic_s()
                self._failed_loads = 0
                self.load_s = load_s
                self.ready_after_s = self._clock.monotonic_s() - self._started_s
                self._metrics.observe(ENGINE_STARTS, self._spec.model, value=self.ready_after_s)
                log.info(
                    "%s: engine ready after %.3f s, %.3f s of it loading", self._spec.model, self.ready_after_s, load_s
                )
                self._listener.on_child()
            case LoadFailed():
                self._load_failed = message
                self._tell_load_trace(message.trace)

    def _tell_load_trace(self, trace: str | None) -> None:
        """In full where it is news; the retries that follow are told in one line each."""
        known = _ADDRESS.sub("0x…", trace or "")
        if trace and known != self._told_trace:
            log.error("the engine does not load:\n%s", trace)
        self._told_trace = known

    def _on_report(self, report: Report) -> None:
        for seq, fraction, stage, checkpoint in report.progress:
            run = self._runs.get(seq)
            if run is not None:
                self._listener.on_progress(run, fraction, stage, checkpoint)
        endings: list[Ending] = []
        self._tell_mistakes(report.results)
        for result in report.results:
            self._count_batch(result.together)
            run = self._runs.pop(result.seq, None)
            if run is not None:
                endings.append(self._ending(run, result))
            elif (ghost := self._ghosts.pop(result.seq, None)) is not None:
                self._listener.on_ghost(ghost)
        self._see_running(tuple(report.running), report.running_s)
        if endings:
            self._has_run = True
            self._failed_starts = 0
            self._backoff.reset()
        if not self._runs and not self._ghosts:
            self._busy.clear()
        if endings:
            self._note_turn()
            self._listener.on_endings(endings)

    def _count_batch(self, together: int) -> None:
        """Results of a batch are told one after the other; each that ran in a lane tells of itself."""
        self._counted += 1
        if self._counted >= together or self.lanes > 1:
            self._counted = 0
            self._metrics.observe(BATCH_JOBS, self._spec.model, value=together)

    def _note_turn(self) -> None:
        if not self._runs:
            took_s = self._clock.monotonic_s() - self._dispatched_s
            self.turn_s = took_s if self.turn_s is None else max(took_s, self.turn_s * TURN_FADES)

    def _tell_mistakes(self, results: Sequence[TaskResult]) -> None:
        """Each traceback once, with the jobs that it is of."""
        for place, result in enumerate(results):
            if result.trace is None:
                continue
            together = results[place : place + result.together] if result.is_shared else [result]
            runs = [run for one in together if (run := self._runs.get(one.seq)) is not None]
            jobs = ", ".join(f"job {run.id}, attempt {run.attempt}" for run in runs)
            log.warning("the engine failed (%s):\n%s", jobs or "a job that was cancelled", result.trace)

    def _ending(self, run: Run, result: TaskResult) -> Ending:
        problem, together = result.problem, result.together
        if problem is None:
            if result.outputs is not None:
                self._batch_size.went_well(together)
        elif problem.code == "out_of_memory":
            self._batch_size.ran_out(together)
        blames_nobody = problem is not None and together > 1 and (result.is_shared or problem.code == "out_of_memory")
        if blames_nobody and run.stop is None:
            run.together = together // 2
            return hand_back(run)
        return _ending(run, result)

    def _see_running(self, running: tuple[int, ...], since_s: float) -> None:
        if running != self._running:
            self._running = running
            since_s = self._clock.monotonic_s() - since_s
            self._began_s = {seq: self._began_s.get(seq, since_s) for seq in running}

    # --- limits -------------------------------------------------------------------------------------------------

    async def _watch(self, child: ChildProcess) -> None:
        while not self.is_ready:
            await self._clock.sleep(WATCH_EVERY_S)
            if self._clock.monotonic_s() - self._started_s > self._spec.load_timeout_s and not self.is_ready:
                limit = f"loading took longer than its limit of {self._spec.load_timeout_s:g} s"
                self._kill(child, JobError(code="load_timed_out", message=limit))
                return
            self._check_memory(child)
        while True:
            await self._busy.wait()
            self._see_running(child.running(), 0.0)
            runs = [self._runs[seq] for seq in self._running if seq in self._runs]
            now_s = self._clock.monotonic_s()
            self._check_memory(child)
            self._check_time(child, runs, now_s)
            self._check_stops(child, runs, now_s)
            await self._clock.sleep(self._until_next_s(runs, now_s))

    def _until_next_s(self, runs: list[Run], now_s: float) -> float:
        instants = [run.kill_at_s for run in runs if run.stop is not None]
        instants += [self._ends_s(run) for run in runs]
        soonest = min((instant - now_s for instant in instants if instant > now_s), default=WATCH_EVERY_S)
        return min(WATCH_EVERY_S, soonest + 0.001)

    def _check_memory(self, child: ChildProcess) -> None:
        used = self._note_memory()
        limit = self._spec.memory_limit_mb
        if limit is not None and used is not None and used > limit:
            message = f"the engine's process used {used:.0f} MiB, over the model's limit of {limit} MiB"
            details = {"used_mb": round(used), "limit_mb": limit}
            self._kill(child, JobError(code="out_of_memory", message=message, retryable=True, details=details))

    def _note_memory(self) -> float | None:
        """What the child holds now, MiB; its peak is remembered for the report of its death."""
        memory = None if self._child is None else self._child.memory()
        if memory is None:
            return None
        self._peak_mb = self.memory_mb = memory.peak_mb
        return memory.held_mb

    def _ends_s(self, run: Run) -> float:
        """When its time is over."""
        return self._began_s[run.seq] + run.timeout_s

    def _check_time(self, child: ChildProcess, runs: list[Run], now_s: float) -> None:
        """A batch is as patient as its most patient job; in lanes each is on its own."""
        overdue = [run for run in runs if now_s >= self._ends_s(run)]
        if self.lanes > 1 or len(runs) == 1:
            for run in overdue:
                self._stop_run(run, Stop.TIMED_OUT, TIMEOUT_GRACE_S)
        elif runs and len(overdue) == len(runs):
            self._kill(child, timed_out(runs[0]))  # each is tried again alone: then the slow one is known

    def _check_stops(self, child: ChildProcess, runs: list[Run], now_s: float) -> None:
        """Kill what does not heed; but others in the process that are wanted go on without the cancelled one."""
        overdue = [run for run in runs if run.stop is not None and now_s >= run.kill_at_s]
        if self.lanes > 1 and self._ghosts and not self._runs:
            log.warning("a cancelled job goes on in its lane: killing its process, now that nothing else is in it")
            self._kill(child, _BESIDE)
            return
        if not overdue:
            return
        if all(run.stop is not None for run in runs) or any(run.stop is Stop.TIMED_OUT for run in overdue):
            log.warning("job %s did not heed its stop (%s): killing its process", overdue[0].id, overdue[0].stop)
            self._kill(child, _BESIDE)
            return
        for run in overdue:
            self._ghosts[run.seq] = self._runs.pop(run.seq)
        self._listener.on_endings([Ending(run=run, cancelled=True, lingers=True) for run in overdue])

    def _stop_run(self, run: Run, why: Stop, grace_s: float) -> None:
        if run.stop is not None or self._runs.get(run.seq) is not run or self._child is None:
            return
        run.stop = why
        run.kill_at_s = self._clock.monotonic_s() + grace_s
        self._child.send(Cancel([run.seq]))

    def _kill(self, child: ChildProcess, verdict: JobError) -> None:
        self._verdict = self._verdict or verdict
        child.kill()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("limits are no longer watched", exc_info=error)


def _ending(run: Run, result: TaskResult) -> Ending:
    if result.outputs is not None:
        outputs = msgspec.msgpack.decode(result.outputs)
        return Ending(
            run=run,
            run_s=result.run_s,
            outputs=outputs,
            outputs_bytes=len(result.outputs),
            files=tuple(result.files),
            has_folder=result.has_folder,
        )
    error = None if result.problem is None else _job_error(result.problem)
    if result.cancelled and run.stop is Stop.TIMED_OUT:
        error = timed_out(run)
    return Ending(
        run=run,
        run_s=result.run_s,
        error=error,
        cancelled=result.cancelled and error is None,
        unbegun=result.unbegun,
        has_folder=result.has_folder,
    )


def _job_error(problem: Problem) -> JobError:
    return JobError(code=problem.code, message=problem.message, retryable=problem.retryable, details=problem.details)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

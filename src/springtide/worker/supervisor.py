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
import logging
from collections.abc import Sequence
from typing import Any

from springtide.domain.clock import Clock
from springtide.domain.job import JobError
from springtide.runtime.waiting import stop_task
from springtide.telemetry.metrics import Metrics
from springtide.telemetry.metrics_catalogue import BATCH_JOBS, ENGINE_DEATHS, ENGINE_STARTS
from springtide.worker.batch_size import BatchSize
from springtide.worker.child import Child
from springtide.worker.deaths import cause_of_death
from springtide.worker.frames import (
    Cancel,
    FromChild,
    Load,
    LoadFailed,
    Ready,
    Report,
    RunTasks,
    Task,
    TaskResult,
    Withdraw,
)
from springtide.worker.inside import Inside
from springtide.worker.limits import Limits
from springtide.worker.memory_watch import oom_kills
from springtide.worker.run import Ending, Run, Stop, ending_of, endings_after_death, hand_back
from springtide.worker.starts import Starts
from springtide.worker.supervised import ChildProcess, EngineSpec, Listener, StartChild

log = logging.getLogger(__name__)

CANCEL_GRACE_S = 5.0  # for an engine to come by its next progress(); then its process is killed
TURN_FADES = 0.7  # a turn: a slow one is forgotten after a dozen quick ones


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
        self._inside = Inside()
        self._starts = Starts(spec.load_attempts)
        self._batch_size = BatchSize(spec.batch)
        self._engine_version = ""
        self._peak_mb: float | None = None
        self._verdict: JobError | None = None  # why we killed the child
        self._started_s = 0.0
        self._oom_kills: int | None = None
        self.is_ready = False
        self.has_shapes = False  # the engine lets only like jobs share a run
        self.lanes = 1  # above it, jobs run side by side, each by itself
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
        """Kill the child. Runs in it do not end: of each it is only told that it is gone. It may be started again."""
        task, self._task = self._task, None
        self.is_ready, self.ready_at_s = False, None
        if task is not None:
            await stop_task(task)

    @property
    def is_idle(self) -> bool:
        """Ready, and nothing is in the child."""
        return self.is_ready and not self._inside.runs

    @property
    def room(self) -> int:
        """How many more jobs it could begin now. Those that share a run wait until the one before is over."""
        if self.lanes == 1:
            return self._spec.batch if self.is_idle else 0
        return max(0, self._batch_size.now - len(self._inside.runs)) if self.is_ready and not self._inside.ghosts else 0

    def takes(self, run: Run) -> bool:
        """Whether `run` may begin beside what runs in other lanes. One that must run by itself waits for the others, as
        they do for it; and nothing begins beside one that did not heed its cancel: once alone, it is killed."""
        beside = self._inside.runs.values()
        return self.room > 0 and len(beside) < min(one.together for one in (run, *beside))

    @property
    def most_together(self) -> int:
        """How many jobs may share a run now."""
        return self._batch_size.now

    @property
    def is_given_up(self) -> bool:
        """Nobody should wait for it to load, though it is still tried."""
        return not self.is_ready and self._starts.is_given_up

    @property
    def is_failing(self) -> bool:
        """It does not load, or not for long."""
        return self._starts.is_failing

    @property
    def problem(self) -> JobError | None:
        """Why the engine did not load the last time."""
        return self._starts.problem

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
            self._inside.add(run)
            together = min(run.together, self._batch_size.now)
            handed = (run.payload, run.paths, run.folder, together, run.checkpoint, run.traceparent)
            tasks.append(Task(run.seq, *handed))
        self._child.forget_printed()  # a crash report must not show what another tenant's job printed
        for order in [tasks] if self.lanes == 1 else [[task] for task in tasks]:
            self._child.send(RunTasks(order))
        self._dispatched_s = self._clock.monotonic_s()

    def cancel(self, run: Run) -> None:
        """Stop a dispatched run: before it begins, at its next progress(), or by force."""
        self.stop_run(run, Stop.CANCELLED, CANCEL_GRACE_S)

    def withdraw(self) -> None:
        """Ask for everything back that has not begun: it ends as `unbegun`."""
        if self._child is not None and self._inside.runs:
            self._child.send(Withdraw())

    # --- one life after another ---------------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        while True:
            try:
                await self._live_once()
            except Exception as error:
                log.exception("the engine's process was lost sight of")
                self._starts.fail_load("load_failed", f"the engine's process was lost sight of: {error}")
            if (pause_s := self._starts.next_pause_s()) > 0:
                await self._clock.sleep(pause_s)

    async def _live_once(self) -> None:
        self._started_s = self._clock.monotonic_s()
        self._oom_kills = oom_kills()
        self._verdict = self._peak_mb = None
        self._starts.begin()
        try:
            child = await self._start_child(self._spec.engine_reference, self._on_message)
        except Exception as error:  # no processes, threads or file descriptors left; the forkserver died
            is_dead = isinstance(error, EOFError | ConnectionError)
            text = "it ended while it imported the engine" if is_dead else str(error)
            self._starts.fail_load("load_failed", f"the engine's process cannot be started: {text}")
            self._listener.on_child()
            return
        self._after_death(child, await self._life_of(child))

    async def _life_of(self, child: ChildProcess) -> int:
        """Its exit code. Whatever comes in between ends it."""
        spec, self._child = self._spec, child
        limits = Limits(spec, child, self._inside, self, self._clock)
        self._watcher = asyncio.create_task(limits.watch(self._started_s), name="child watch")
        self._watcher.add_done_callback(_log_failure)
        try:
            folder = str(spec.weights_folder)
            child.send(
                Load(
                    spec.engine_reference,
                    spec.settings,
                    folder,
                    spec.accept_non_commercial,
                    spec.signing,
                    spec.warm_up,
                )
            )
            return await asyncio.shield(child.exited)
        except BaseException:
            child.kill()
            runs, ghosts = self._inside.empty()
            await child.exited
            for run in (*runs, *ghosts):
                self._listener.on_ghost(run)
            raise
        finally:
            self._watcher.cancel()
            self._child = None

    def _after_death(self, child: ChildProcess, code: int) -> None:
        was_ready, self.is_ready, self.ready_at_s = self.is_ready, False, None
        error = self._verdict or cause_of_death(code, child.printed(), oom_kills=(self._oom_kills, oom_kills()))
        refused = None if was_ready else self._starts.refused
        self._metrics.add(ENGINE_DEATHS, self._spec.model, error.code if refused is None else refused.code)
        runs, ghosts = self._inside.empty()
        if not was_ready:
            self._starts.died_loading(error)
        elif runs:
            jobs = ", ".join(f"job {run.id}, attempt {run.attempt}" for run in runs)
            said = error.details.get("stderr")
            last_words = f"; its last words:\n{said}" if said else ""
            log.warning("the engine's process has ended while it ran (%s): %s%s", jobs, error.message, last_words)
        else:
            self._starts.died_idle(error, self._clock.monotonic_s() - self._started_s)
        running = child.running()
        if error.code == "out_of_memory" and running:
            self._batch_size.ran_out(len(running))
        if runs:
            self._listener.on_endings(endings_after_death(runs, running, error))
        for run in ghosts:
            self._listener.on_ghost(run)
        self._listener.on_child()

    # --- what the child says ------------------------------------------------------------------------------------

    def _on_message(self, message: FromChild) -> None:
        match message:
            case Report():
                self._on_report(message)
            case Ready(load_s, max_batch, version, has_shapes, lanes):
                self._engine_version = version
                self.note_memory()
                self._batch_size.fit(max(max_batch, lanes))
                self.has_shapes, self.lanes = has_shapes, lanes
                self.is_ready = True
                self._starts.loaded()
                self.ready_at_s = self._clock.monotonic_s()
                self.load_s = load_s
                self.ready_after_s = self._clock.monotonic_s() - self._started_s
                self._metrics.observe(ENGINE_STARTS, self._spec.model, value=self.ready_after_s)
                log.info(
                    "%s: engine ready after %.3f s, %.3f s of it loading", self._spec.model, self.ready_after_s, load_s
                )
                self._listener.on_child()
            case LoadFailed():
                self._starts.refuse(message)

    def _on_report(self, report: Report) -> None:
        for seq, fraction, stage, checkpoint in report.progress:
            run = self._inside.runs.get(seq)
            if run is not None:
                self._listener.on_progress(run, fraction, stage, checkpoint)
        endings: list[Ending] = []
        self._tell_mistakes(report.results)
        for result in report.results:
            self._count_batch(result.together)
            run = self._inside.runs.pop(result.seq, None)
            if run is not None:
                endings.append(self._ending(run, result))
            elif (ghost := self._inside.ghosts.pop(result.seq, None)) is not None:
                self._listener.on_ghost(ghost)
        self._inside.see_running(tuple(report.running), self._clock.monotonic_s() - report.running_s)
        self._inside.settle()
        if endings:
            self._starts.has_run()
            self._note_turn()
            self._listener.on_endings(endings)

    def _count_batch(self, together: int) -> None:
        """Results of a batch are told one after the other; each that ran in a lane tells of itself."""
        self._counted += 1
        if self._counted >= together or self.lanes > 1:
            self._counted = 0
            self._metrics.observe(BATCH_JOBS, self._spec.model, value=together)

    def _note_turn(self) -> None:
        if not self._inside.runs:
            took_s = self._clock.monotonic_s() - self._dispatched_s
            self.turn_s = took_s if self.turn_s is None else max(took_s, self.turn_s * TURN_FADES)

    def _tell_mistakes(self, results: Sequence[TaskResult]) -> None:
        """Each traceback once, with the jobs that it is of."""
        for place, result in enumerate(results):
            if result.trace is None:
                continue
            together = results[place : place + result.together] if result.is_shared else [result]
            runs = [run for one in together if (run := self._inside.runs.get(one.seq)) is not None]
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
        return ending_of(run, result)

    # --- limits.Enforcer ----------------------------------------------------------------------------------------

    def note_memory(self) -> float | None:
        """What the child holds now, MiB; its peak is remembered for the report of its death."""
        memory = None if self._child is None else self._child.memory()
        if memory is None:
            return None
        self._peak_mb = self.memory_mb = memory.peak_mb
        return memory.held_mb

    def forsake(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._inside.forsake(run)
        self._listener.on_endings([Ending(run=run, cancelled=True, lingers=True) for run in runs])

    def stop_run(self, run: Run, why: Stop, grace_s: float) -> None:
        if run.stop is not None or self._inside.runs.get(run.seq) is not run or self._child is None:
            return
        run.stop = why
        run.kill_at_s = self._clock.monotonic_s() + grace_s
        self._child.send(Cancel([run.seq]))

    def kill(self, verdict: JobError) -> None:
        if self._child is not None:
            self._verdict = self._verdict or verdict
            self._child.kill()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("limits are no longer watched", exc_info=error)

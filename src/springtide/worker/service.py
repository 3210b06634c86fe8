"""A worker: takes leases of one model, runs them in the supervised child, reports how they ended.

Three loops and a doorbell, none of which waits for the engine:

- the lease loop takes work when the child is ready for it, and reads ahead while the child computes, but then only jobs
  that have waited a while: an idle colleague comes first;
- the beat loop says every few seconds what is held, and acts on what was cancelled or lost;
- an engine that is given up on, with no colleague in sight who could do better, has its waiting jobs failed with the
  reason, those that arrive later too, until it loads after all: accepted means it will end;
- the reporter repeats results until the broker has them;
- while something is held, a wait on the broker's doorbell hears of cancels.

`drain` is SIGTERM's meaning: what has not begun is given back, what runs is finished, reported, then the worker leaves.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from springtide.blobs.protocol import Blobs
from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.fleet import QueueView, Usage
from springtide.domain.ids import JobId, WorkerId
from springtide.domain.job import JobError, JobRef
from springtide.domain.lease import BEAT_EVERY_S, LEASE_TTL_S, WakeUp, WorkerState
from springtide.fleet.gangs import Gangs
from springtide.policy.waiting import has_hope
from springtide.runtime.backoff import Backoff
from springtide.runtime.chance import draw
from springtide.runtime.waiting import first_of, stop_task
from springtide.telemetry.metrics import Metrics
from springtide.worker.attempts import Attempts
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.child import Child
from springtide.worker.groups import GroupAttempts
from springtide.worker.place import Place
from springtide.worker.reporter import Reporter
from springtide.worker.scratch import Scratch
from springtide.worker.settings import WorkerSettings as WorkerSettings
from springtide.worker.supervised import EngineSpec, StartChild
from springtide.worker.supervisor import Supervisor
from springtide.worker.transfer import Transfer
from springtide.worker.usage import Measure

log = logging.getLogger(__name__)

SAFETY_WAIT_S = 5.0  # a wake-up may be lost with a connection; nothing waits longer than this for it
AHEAD_MIN_WAIT_S = 0.5  # a job this old was not taken by an idle colleague: it may be read ahead
QUICK_TURN_S = 0.02  # who reads ahead while an engine is busy for this long delays nobody by more than two round trips
CANCEL_LISTEN_AFTER_S = 0.05  # jobs shorter than this are not worth a call to hear of their cancels
FAIL_AT_ONCE = 100  # jobs taken in one call only to be failed
UNKNOWN_BEAT_S = 1.0  # while the broker lacks a job that is held: be there when it is put back
UNKNOWN_PATIENCE_S = 4 * LEASE_TTL_S  # an emptied broker is filled again within seconds, a large ledger takes longer
REPORT_GRACE_S = 2 * LEASE_TTL_S  # a draining worker waits this long for a broker; then its leases are lost anyway


class Worker:
    """Runs jobs of one model from `run()` until `drain()`."""

    def __init__(  # noqa: PLR0913  # every seam of a worker comes in here, by keyword
        self,
        settings: WorkerSettings,
        *,
        worker_id: WorkerId,
        broker: Broker,
        blobs: Blobs,
        clock: Clock,
        rand: Callable[[], float] = draw,
        start_child: StartChild = Child.start,
        place: Place | None = None,
        measure: Measure | None = None,
        gangs: Gangs | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """start_child: only a simulation has another one. place: of a model that a `Host` loads and unloads. measure:
        of what it uses; without it beats do not tell. gangs: of a distributed model, whose attempts run in them."""
        self._settings = settings
        self._metrics = metrics
        self._model = settings.model
        self._id = worker_id
        self._broker = broker
        self._clock = clock
        self._changed = asyncio.Event()
        self._draining = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._occupied = asyncio.Event()
        self._vacant = asyncio.Event()
        self._place = place
        self._measure = measure
        self._usage: Usage | None = None
        self._is_leasing = False
        self._told_place: tuple[bool, bool, bool] | None = None
        self._scratch = Scratch(settings.scratch_folder, worker_id if place is None else f"{worker_id}.{self._model}")
        transfer = Transfer(blobs, clock)
        self._checkpoints = Checkpoints(
            self._model, worker_id, broker=broker, blobs=blobs, transfer=transfer, clock=clock
        )
        self._attempts: Attempts | GroupAttempts
        self._supervisor: Supervisor | GroupAttempts
        if gangs is None:
            self._attempts, self._supervisor = self._with_engine(transfer, rand, start_child)
        else:
            self._attempts = self._supervisor = GroupAttempts(
                settings, gangs=gangs, broker=broker, clock=clock, rand=rand, on_change=self._on_change, metrics=metrics
            )
        self._reporter = Reporter(self._model, worker_id, broker=broker, clock=clock, on_settled=self._attempts.settled)
        self._attempts.reporter = self._reporter
        self._in_touch = asyncio.Event()  # the broker has heard what is held since it was last away
        self._unknown: dict[JobId, float] = {}  # held and not known to the broker -> since when
        self._told_state: WorkerState | None = None
        self._told_problem: JobError | None = None
        self._ahead_at_s = 0.0
        self._in_vain = 0
        self._is_more = False  # the last lease gave all that was asked for

    def _with_engine(
        self, transfer: Transfer, rand: Callable[[], float], start_child: StartChild
    ) -> tuple[Attempts, Supervisor]:
        """What runs attempts in a child process of this one."""
        attempts = Attempts(
            self._settings,
            transfer=transfer,
            checkpoints=self._checkpoints,
            scratch=self._scratch,
            clock=self._clock,
            rand=rand,
            on_change=self._on_change,
        )
        attempts.supervisor = Supervisor(
            _engine_spec(self._settings), attempts, self._clock, start_child=start_child, metrics=self._metrics
        )
        return attempts, attempts.supervisor

    @property
    def id(self) -> WorkerId:
        return self._id

    @property
    def state(self) -> WorkerState:
        """What it would say of itself now."""
        if self._draining.is_set():
            return WorkerState.DRAINING
        if self._place is not None and not self._place.is_loaded:
            return WorkerState.UNLOADED
        if not self._supervisor.is_ready:
            return WorkerState.FAILING if self._supervisor.is_failing else WorkerState.STARTING
        return WorkerState.BUSY if self._attempts.occupied else WorkerState.READY

    @property
    def is_occupied(self) -> bool:
        """Whether it could not be unloaded now: something runs or is about to."""
        return self._is_leasing or self._attempts.waiting + self._attempts.running > 0

    @property
    def is_failing(self) -> bool:
        return self._supervisor.is_failing

    @property
    def memory_mb(self) -> float | None:
        """What the loaded engine's process takes, at its peak; None where it was never loaded."""
        return self._supervisor.memory_mb

    @property
    def ready_at_s(self) -> float | None:
        """Since when the engine is loaded (monotonic); None while it is not."""
        return self._supervisor.ready_at_s

    @property
    def engine_pid(self) -> int | None:
        """The child process, where there is one."""
        return self._supervisor.pid

    @property
    def problem(self) -> JobError | None:
        """Why the engine did not load the last time; None once it has."""
        return self._supervisor.problem

    @property
    def load_s(self) -> float | None:
        """How long the engine took to load, the last time it did."""
        return self._supervisor.load_s

    @property
    def ready_after_s(self) -> float | None:
        """From the start of the child process to a loaded engine, the last time."""
        return self._supervisor.ready_after_s

    def drain(self) -> None:
        """Finish what runs, give back the rest, leave. `run` returns then. May be called again."""
        if not self._draining.is_set():
            log.info("draining")
        self._draining.set()
        self._beat_now.set()
        self._changed.set()

    async def load(self) -> None:
        """A host's word: there is room."""
        assert self._place is not None
        self._place.load(self._clock.monotonic_s())
        await self._supervisor.start()
        self._on_change()

    async def unload(self) -> None:
        """A host's word: the room is needed. Only while it is not occupied."""
        assert self._place is not None
        assert not self.is_occupied
        self._place.unload()
        await self._supervisor.stop()
        self._on_change()

    async def run(self) -> None:
        """Work until drained. Raises ConfigError where the scratch folder cannot be used."""
        await asyncio.to_thread(self._scratch.prepare)
        loops: list[asyncio.Task[None]] = []
        try:
            await self._reporter.start()
            if self._place is None:
                await self._supervisor.start()
            loops += [
                asyncio.create_task(self._patiently("the heartbeat", self._beat_once), name="beat"),
                asyncio.create_task(self._patiently("listening for cancels", self._listen_once), name="listen"),
            ]
            if self._measure is not None:
                loops.append(asyncio.create_task(self._patiently("measuring", self._measure_once), name="measure"))
            await self._patiently("taking work", self._lease_once, until=self._draining)
            await self._finish()
        finally:
            for loop in loops:
                await stop_task(loop)
            await self._supervisor.stop()
            await self._attempts.stop()
            await self._reporter.stop()
            await asyncio.to_thread(self._scratch.close)

    async def _finish(self) -> None:
        """The end of a drain: nothing is leased any more."""
        attempts = self._attempts
        attempts.drain()
        ends_at_s = self._clock.monotonic_s() + self._settings.grace_s
        await self._until(lambda: attempts.running == 0, self._settings.grace_s)
        if attempts.running:
            log.warning("given back after %g s of grace: %d running job(s)", self._settings.grace_s, attempts.running)
            await self._supervisor.stop()
            await first_of(self._checkpoints.finish(), self._clock.sleep(REPORT_GRACE_S))
            attempts.give_back_running()
        left_s = max(REPORT_GRACE_S, ends_at_s - self._clock.monotonic_s())
        await self._until(lambda: attempts.storing == 0, left_s)
        await first_of(self._reporter.drained(), self._clock.sleep(REPORT_GRACE_S))
        try:
            await self._broker.leave(self._model, self._id, self._clock.now_s())
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("left without saying so: %s", error)

    async def _until(self, is_so: Callable[[], bool], most_s: float) -> None:
        ends_at_s = self._clock.monotonic_s() + most_s
        while not is_so() and (left_s := ends_at_s - self._clock.monotonic_s()) > 0:
            self._changed.clear()
            await first_of(self._changed.wait(), self._clock.sleep(left_s))

    def _on_change(self) -> None:
        self._changed.set()
        is_occupied = self._attempts.occupied > 0
        (self._occupied.set if is_occupied else self._occupied.clear)()
        (self._vacant.clear if is_occupied else self._vacant.set)()
        state = self.state
        is_news = state is not self._told_state and {state, self._told_state} != {WorkerState.BUSY, WorkerState.READY}
        if is_news or self.problem is not self._told_problem:
            self._beat_now.set()
        if self._place is not None:
            self._tell_place(self._place)

    def _tell_place(self, place: Place) -> None:
        is_occupied = self.is_occupied
        if is_occupied or (self._told_place and self._told_place[0]):
            place.use(self._clock.monotonic_s())
        now = (is_occupied, self._supervisor.is_ready, self._supervisor.is_failing)
        if now != self._told_place:
            self._told_place = now
            place.changed()

    async def _patiently(
        self, name: str, once: Callable[[], Awaitable[None]], *, until: asyncio.Event | None = None
    ) -> None:
        """Repeat `once`; after an error wait longer and longer, but not past `until`."""
        backoff = Backoff(0.1, 5.0)
        while until is None or not until.is_set():
            try:
                await once()
            except (Unavailable, OutcomeUnknown) as error:
                self._in_touch.clear()
                self._beat_now.set()
                if backoff.failures == 0:
                    log.warning("%s waits for the broker: %s", name, error)
            except Exception:
                log.exception("%s failed, trying again", name)
            else:
                if backoff.failures:
                    log.info("%s goes on", name)
                    backoff.reset()
                continue
            pause = self._clock.sleep(backoff.next_s())
            await (pause if until is None else first_of(pause, until.wait()))

    # --- taking work --------------------------------------------------------------------------------------------

    async def _lease_once(self) -> None:
        """Take what there is room for, or wait until that may have changed."""
        self._changed.clear()
        attempts, settings = self._attempts, self._settings
        free = settings.slots - attempts.occupied
        if not self._in_touch.is_set() and attempts.held():
            # It may have forgotten what is held: say that before anyone asks for work.
            await first_of(self._in_touch.wait(), self._draining.wait())
            return
        if self._place is not None and not self._place.is_open:
            await self._ask_for_room(self._place)
            return
        if self._supervisor.is_given_up:
            await self._fail_waiting()
            return
        if not self._supervisor.is_ready or free <= 0:
            await first_of(self._changed.wait(), self._clock.sleep(SAFETY_WAIT_S))
            return
        wanted = min(free, settings.batch - attempts.waiting)
        if wanted > 0 and self._supervisor.is_idle:
            if not await self._lease(wanted, min_wait_s=0.0):
                await self._wait_for_work()
            return
        if wanted > 0 and self._is_more and self._is_quick:
            await self._lease(wanted, min_wait_s=0.0)
            return
        wait_s = self._ahead_at_s - self._clock.monotonic_s()
        if wait_s > 0:
            await first_of(self._changed.wait(), self._clock.sleep(wait_s))
        elif not await self._lease(free, min_wait_s=AHEAD_MIN_WAIT_S):
            self._ahead_at_s = self._clock.monotonic_s() + AHEAD_MIN_WAIT_S

    @property
    def _is_quick(self) -> bool:
        """What runs is over so soon that work taken now hardly waits for it."""
        turn_s = self._supervisor.turn_s
        return turn_s is not None and turn_s < QUICK_TURN_S

    async def _lease(self, max_jobs: int, *, min_wait_s: float) -> bool:
        now_s = self._clock.now_s()
        self._is_leasing = True
        try:
            leases = await self._broker.lease(self._model, self._id, max_jobs, now_s, min_wait_s=min_wait_s)
            self._is_more = len(leases) == max_jobs
            if leases:
                self._in_vain = 0
                self._attempts.accept(leases)
        finally:
            self._is_leasing = False
            if self._place is not None:
                self._place.changed()
        return bool(leases)

    async def _ask_for_room(self, place: Place) -> None:
        """Not loaded: hear of work, and say so; a colleague that has the model loaded and idle comes first."""
        if place.is_loaded or place.wanted_since_s is not None:
            await first_of(self._changed.wait(), self._clock.sleep(SAFETY_WAIT_S))
            if place.wanted_since_s is not None and not (await self._view()).queued:
                place.want_no_more()
            return
        if not await self._wait_for_work():
            return
        view = await self._view()
        if any(worker.state is WorkerState.READY for worker in view.workers if worker.worker != self._id):
            await first_of(self._changed.wait(), self._clock.sleep(AHEAD_MIN_WAIT_S))
            view = await self._view()
        if view.queued and not place.is_loaded:
            self._in_vain = 0
            place.want(self._clock.monotonic_s())

    async def _view(self) -> QueueView:
        [view] = await self._broker.queues([self._model], self._clock.now_s())
        return view

    async def _fail_waiting(self) -> None:
        """End what waits with the reason why it cannot run, unless a colleague might run it; else wait for more."""
        problem = self._supervisor.problem
        assert problem is not None
        if has_hope(await self._view(), besides=self._id):
            await first_of(self._changed.wait(), self._clock.sleep(BEAT_EVERY_S))
            return
        leases = await self._broker.lease(self._model, self._id, FAIL_AT_ONCE, self._clock.now_s())
        if leases:
            log.error("failed %d waiting job(s): the engine does not load", len(leases))
            self._attempts.refuse(leases, problem)
        else:
            await self._wait_for_work()

    async def _wait_for_work(self) -> bool:
        """Until the doorbell rings for work (then True), something changes, or it is time to look anyway."""
        wake = asyncio.ensure_future(self._broker.wake(self._model, self._id, for_work=True, wait_s=SAFETY_WAIT_S))
        wake.add_done_callback(lambda _: self._changed.set())  # one wait for both: two tasks fewer before a job
        try:
            await self._changed.wait()
        finally:
            await stop_task(wake)
        if wake.cancelled():
            return False
        told = wake.result()
        self._attempts.cancel(told.cancelled)
        if told.work:
            # Rung for work that somebody else took, or that cannot be taken yet: do not run to and fro for it.
            self._in_vain += 1
            if self._in_vain > 3:
                await self._clock.sleep(min(0.1, 0.005 * self._in_vain))
        return told.work

    # --- saying what is held, hearing what was cancelled ----------------------------------------------------------

    async def _beat_once(self) -> None:
        self._beat_now.clear()
        held = self._attempts.held()
        state, problem = self._told_state, self._told_problem = self.state, self.problem
        now_s = self._clock.now_s()
        reply = await self._broker.beat(self._model, self._id, held, state, now_s, problem=problem, usage=self._usage)
        self._in_touch.set()
        said = {each.id: each.attempt for each in held}
        lost = [job for job in reply.lost if job in said and self._attempts.attempt_of(job) == said[job]]
        for job in await self._gone(lost) if lost or self._unknown else ():
            if self._attempts.attempt_of(job) == said[job]:
                self._attempts.drop(job)
        self._attempts.cancel(reply.cancelled)
        pause_s = UNKNOWN_BEAT_S if self._unknown else BEAT_EVERY_S
        await first_of(self._beat_now.wait(), self._clock.sleep(pause_s))

    async def _measure_once(self) -> None:
        """Of a host's models each tells of its own engine; a worker of one model tells of itself, too."""
        assert self._measure is not None
        engine = self._supervisor.pid
        pids = [*([os.getpid()] if self._place is None else ()), *([engine] if engine is not None else ())]
        self._usage = await self._measure(pids, self._clock.now_s())
        await self._clock.sleep(BEAT_EVERY_S)

    async def _gone(self, lost: list[JobId]) -> list[JobId]:
        """Those of `lost` that are somebody else's, or over. The others are unknown to the broker: it was emptied, and
        they are held on to until they have been put back."""
        now_s = self._clock.monotonic_s()
        seen = await self._broker.peek([JobRef(self._model, job) for job in lost], self._clock.now_s()) if lost else []
        unknown = [job for job, found in zip(lost, seen, strict=True) if found is None]
        if unknown and not self._unknown:
            log.warning("the broker has forgotten %d job(s) that are held here; they go on", len(unknown))
        self._unknown = {job: self._unknown.get(job, now_s) for job in unknown}
        patient = {job for job, since_s in self._unknown.items() if now_s - since_s < UNKNOWN_PATIENCE_S}
        return [job for job in lost if job not in patient]

    async def _listen_once(self) -> None:
        """Hear of cancels at once while something is held; the lease loop listens while the worker is idle."""
        await self._occupied.wait()
        await first_of(self._vacant.wait(), self._clock.sleep(CANCEL_LISTEN_AFTER_S))
        if self._vacant.is_set():
            return
        wake = asyncio.ensure_future(self._broker.wake(self._model, self._id, for_work=False, wait_s=SAFETY_WAIT_S))
        try:
            await first_of(wake, self._vacant.wait())
        finally:
            await stop_task(wake)
        told = WakeUp() if wake.cancelled() else wake.result()
        if told.cancelled and not self._attempts.cancel(told.cancelled):
            await self._clock.sleep(AHEAD_MIN_WAIT_S)  # known already, and said again until they have ended


def _engine_spec(settings: WorkerSettings) -> EngineSpec:
    return EngineSpec(
        model=settings.model,
        engine_reference=settings.engine_reference,
        settings=settings.settings,
        weights_folder=settings.weights_folder,
        accept_non_commercial=settings.accept_non_commercial,
        signing=settings.signing,
        load_timeout_s=settings.load_timeout_s,
        load_attempts=settings.load_attempts,
        warm_up=settings.warm_up,
        memory_limit_mb=settings.memory_limit_mb,
        batch=settings.batch,
    )

"""A worker: takes leases of one model, runs them in the supervised child, reports how they ended.

Its loops, none of which waits for the engine: `taking` takes work, `heartbeat` says what is held and hears what was
cancelled or lost, the reporter repeats results until the broker has them; and while something is held, a wait on the
broker's doorbell hears of cancels at once.

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
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobError
from springtide.domain.lease import BEAT_EVERY_S, LEASE_TTL_S, WakeUp, WorkerState
from springtide.fleet.gangs import Gangs
from springtide.runtime.backoff import Backoff
from springtide.runtime.chance import draw
from springtide.runtime.waiting import first_of, stop_task
from springtide.telemetry.metrics import Metrics
from springtide.worker.attempts import Attempts
from springtide.worker.checkpoints import Checkpoints
from springtide.worker.child import Child
from springtide.worker.groups import GroupAttempts
from springtide.worker.heartbeat import Heartbeat, Standing
from springtide.worker.place import Place
from springtide.worker.reporter import Reporter
from springtide.worker.scratch import Scratch
from springtide.worker.settings import WorkerSettings as WorkerSettings
from springtide.worker.supervised import EngineSpec, StartChild
from springtide.worker.supervisor import Supervisor
from springtide.worker.taking import AHEAD_MIN_WAIT_S, SAFETY_WAIT_S, Taking
from springtide.worker.transfer import Transfer
from springtide.worker.usage import Measure

log = logging.getLogger(__name__)

CANCEL_LISTEN_AFTER_S = 0.05  # jobs shorter than this are not worth a call to hear of their cancels
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
        self._occupied = asyncio.Event()
        self._vacant = asyncio.Event()
        self._place = place
        self._measure = measure
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
        self._heartbeat = Heartbeat(
            self._model, worker_id, broker=broker, clock=clock, attempts=self._attempts, tell=self._standing
        )
        self._taking = Taking(
            settings,
            worker_id,
            broker=broker,
            clock=clock,
            attempts=self._attempts,
            supervisor=self._supervisor,
            place=place,
            changed=self._changed,
            in_touch=self._heartbeat.in_touch,
        )

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
        return self._taking.is_leasing or self._attempts.waiting + self._attempts.running > 0

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

    def _standing(self) -> Standing:
        return self.state, self.problem

    def drain(self) -> None:
        """Finish what runs, give back the rest, leave. `run` returns then. May be called again."""
        if not self._draining.is_set():
            log.info("draining")
        self._draining.set()
        self._heartbeat.hasten()
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
                asyncio.create_task(self._patiently("the heartbeat", self._heartbeat.beat_once), name="beat"),
                asyncio.create_task(self._patiently("listening for cancels", self._listen_once), name="listen"),
            ]
            if self._measure is not None:
                loops.append(asyncio.create_task(self._patiently("measuring", self._measure_once), name="measure"))
            await self._patiently("taking work", self._taking.once, until=self._draining)
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
        self._heartbeat.look()
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
                self._heartbeat.lose_touch()
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

    async def _measure_once(self) -> None:
        """Of a host's models each tells of its own engine; a worker of one model tells of itself, too."""
        assert self._measure is not None
        engine = self._supervisor.pid
        pids = [*([os.getpid()] if self._place is None else ()), *([engine] if engine is not None else ())]
        self._heartbeat.usage = await self._measure(pids, self._clock.now_s())
        await self._clock.sleep(BEAT_EVERY_S)

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

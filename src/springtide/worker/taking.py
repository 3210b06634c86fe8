"""Taking work: when, how much, and from whom it is better left.

A worker takes work when its engine is ready for it, and reads ahead while the engine computes, but then only jobs that
have waited a while: an idle colleague comes first. One whose engine is given up on, with no colleague in sight who
could do better, takes what waits only to fail it with the reason, those that arrive later too, until it loads after
all: accepted means it will end. Nothing polls: whoever can take nothing waits for the doorbell, or for a change.
"""

from __future__ import annotations

import asyncio
import logging

from springtide.broker.protocol import Broker
from springtide.domain.clock import Clock
from springtide.domain.fleet import QueueView
from springtide.domain.ids import WorkerId
from springtide.domain.lease import BEAT_EVERY_S, WorkerState
from springtide.policy.waiting import has_hope
from springtide.runtime.waiting import first_of, stop_task
from springtide.worker.attempts import Attempts
from springtide.worker.groups import GroupAttempts
from springtide.worker.place import Place
from springtide.worker.settings import WorkerSettings
from springtide.worker.supervisor import Supervisor

log = logging.getLogger(__name__)

SAFETY_WAIT_S = 5.0  # a wake-up may be lost with a connection; nothing waits longer than this for it
AHEAD_MIN_WAIT_S = 0.5  # a job this old was not taken by an idle colleague: it may be read ahead
QUICK_TURN_S = 0.02  # who reads ahead while an engine is busy for this long delays nobody by more than two round trips
FAIL_AT_ONCE = 100  # jobs taken in one call only to be failed


class Taking:
    """`once` again and again, until the worker drains."""

    def __init__(  # noqa: PLR0913  # what a worker consists of, by keyword
        self,
        settings: WorkerSettings,
        worker: WorkerId,
        *,
        broker: Broker,
        clock: Clock,
        attempts: Attempts | GroupAttempts,
        supervisor: Supervisor | GroupAttempts,
        place: Place | None,
        changed: asyncio.Event,
        in_touch: asyncio.Event,
    ) -> None:
        """changed: set whenever there may be more room or less, and by a drain. in_touch: while the broker knows what
        is held."""
        self._settings = settings
        self._model = settings.model
        self._id = worker
        self._broker = broker
        self._clock = clock
        self._attempts = attempts
        self._supervisor = supervisor
        self._place = place
        self._changed = changed
        self._in_touch = in_touch
        self._ahead_at_s = 0.0
        self._in_vain = 0  # times in a row that the doorbell rang for work that was not to be had
        self._is_more = False  # the last lease gave all that was asked for
        self.is_leasing = False

    async def once(self) -> None:
        """Take what there is room for, or wait until that may have changed."""
        self._changed.clear()
        attempts, settings = self._attempts, self._settings
        free = settings.slots - attempts.occupied
        if not self._in_touch.is_set() and attempts.held():
            # It may have forgotten what is held: say that before anyone asks for work.
            await first_of(self._in_touch.wait(), self._changed.wait())
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
        self.is_leasing = True
        try:
            leases = await self._broker.lease(self._model, self._id, max_jobs, now_s, min_wait_s=min_wait_s)
            self._is_more = len(leases) == max_jobs
            if leases:
                self._in_vain = 0
                self._attempts.accept(leases)
        finally:
            self.is_leasing = False
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

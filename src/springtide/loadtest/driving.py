"""Submits what a plan says, when it says so, and watches; afterwards asks the server for every job it accepted.

Open loop: a server that is slow gets its jobs no later, as from real callers. What got no answer, or was told that a
dependency is down, is sent again with the same idempotency key for a while, as any good client does; what was refused
(429) is not. One that is interrupted waits for nothing more and still tells what it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from springtide.client import ApiError, AsyncSpringtide, Job, NotFound, Unreachable
from springtide.client.models import LiveFigures
from springtide.domain.clock import Clock
from springtide.loadtest.record import Entry, Failure, Growth, Kill, Look, Run, Submit
from springtide.loadtest.scenarios import Arrival, Plan, arrivals, kills

AT_ONCE = 128  # submits under way: a server that answers none must not cost this machine its sockets
AGAIN_FOR_S = 60.0  # a gateway that restarts is back within a few seconds, its machine within a minute
AGAIN_AFTER_S = 0.5
DUE_S = 0.001  # what is due within a millisecond is due: a clock may not tell less
LOOK_S = 1.0  # the server's own figures are at most a second old
LOOKS = 720  # of the charts' points: a long test is looked at less often
ASIDE_S = 5.0  # by which the clocks of the two may differ when jobs are listed
TRANSIENT = frozenset({502, 503, 504})


class Victims(Protocol):
    """Whose workers are killed."""

    def count(self) -> int:
        """Workers that are up."""
        ...

    def kill(self) -> str | None:
        """Kill one; says which. None where none is up."""
        ...


class Tally(msgspec.Struct):
    """How far it is, for whoever looks at the screen."""

    planned: int = 0
    accepted: int = 0
    refused: int = 0
    waiting: int = 0
    running: int = 0
    workers: int = 0
    at_s: float = 0.0


class Driver:
    """`run()` once. clients: one for each tenant of the plan; their patience has no retries: the driver's own are on
    record."""

    def __init__(
        self,
        plan: Plan,
        clients: Mapping[str, AsyncSpringtide],
        *,
        clock: Clock,
        victims: Victims | None = None,
        told: Callable[[Tally], None] | None = None,
        due: Sequence[Arrival] | None = None,
    ) -> None:
        """due: jobs by hand instead of those of the plan."""
        self._due = arrivals(plan) if due is None else due
        self._plan, self._clients, self._clock = plan, clients, clock
        self._victims, self._told = victims, told
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._submits: list[Submit] = []
        self._looks: list[Look] = []
        self._kills: list[Kill] = []
        self._tally = Tally()
        self._began_s = self._began_at_s = 0.0
        self._models = sorted({lane.model for lane in plan.lanes})
        self._stopped = False

    def stop(self) -> None:
        """Submit nothing more, wait for nothing more."""
        self._stopped = True

    async def run(self) -> Run:
        """The whole test. Raises Unreachable or ApiError where the server cannot be asked for the record at the end."""
        self._tally.planned = len(self._due)
        self._began_s, self._began_at_s = self._clock.monotonic_s(), self._clock.now_s()
        watching = [asyncio.create_task(self._watch()), asyncio.create_task(self._harm())]
        try:
            await self._submit_all(self._due)
            await self._drain()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        span_s = self._now_s()
        entries, missing = await self._recorded()
        return Run(
            began_at_s=self._began_at_s,
            span_s=span_s,
            submits=tuple(sorted(self._submits, key=lambda one: one.due_s)),
            looks=tuple(self._looks),
            kills=tuple(self._kills),
            entries=entries,
            missing=missing,
            growth=await self._growth(),
            interrupted=self._stopped,
        )

    def _now_s(self) -> float:
        return self._clock.monotonic_s() - self._began_s

    # --- submitting ---------------------------------------------------------------------------------------------------

    async def _submit_all(self, due: Sequence[Arrival]) -> None:
        async with asyncio.TaskGroup() as group:
            for number, one in enumerate(due):
                while not self._stopped and (left_s := one.at_s - self._now_s()) > DUE_S:
                    await self._clock.sleep(min(left_s, LOOK_S))
                await self._gate.acquire()
                if self._stopped:
                    self._gate.release()
                    return
                group.create_task(self._submit(one, number))

    async def _submit(self, arrival: Arrival, number: int) -> None:
        lane = self._plan.lanes[arrival.lane]
        inputs = {**lane.inputs, **({} if arrival.seconds is None else {"seconds": arrival.seconds})}
        key = f"loadtest-{self._began_at_s:.3f}-{number}"
        sent_s, failures = self._now_s(), list[Failure]()
        job: str | None = None
        try:
            while True:
                try:
                    job = (await self._clients[lane.tenant].submit(lane.model, inputs, idempotency_key=key)).id
                    self._tally.accepted += 1
                    break
                except (ApiError, Unreachable) as error:
                    is_passing = isinstance(error, Unreachable) or error.status in TRANSIENT
                    again = is_passing and not self._stopped and self._now_s() - sent_s < AGAIN_FOR_S
                    failures.append(Failure(self._now_s(), error.code, again))
                    if not again:
                        self._tally.refused += 1
                        break
                await self._clock.sleep(AGAIN_AFTER_S)
        finally:
            self._gate.release()
        self._submits.append(
            Submit(
                lane=arrival.lane,
                due_s=arrival.at_s,
                sent_s=sent_s,
                answered_s=self._now_s(),
                job=job,
                failures=tuple(failures),
            )
        )

    async def _drain(self) -> None:
        """Until nothing of ours is under way, or the patience is over."""
        ends_s = self._now_s() + self._plan.drain_s
        while not self._stopped and self._now_s() < ends_s:
            with contextlib.suppress(Unreachable, ApiError):
                if not await self._open():
                    return
            await self._clock.sleep(LOOK_S)

    async def _open(self) -> bool:
        """Whether one of our jobs has not ended. The newest open ones tell: others' jobs may be among them."""
        ours = {one.job for one in self._submits}
        for client in self._clients.values():
            found = client.jobs.list(
                status=("queued", "in_progress", "cancelling"), created_after=self._began_at_s - ASIDE_S
            )
            async for job in found:
                if job.id in ours:
                    return True
        return False

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        every_s = max(LOOK_S, (self._plan.seconds + self._plan.drain_s) / LOOKS)
        client = next(iter(self._clients.values()))
        while True:
            at_s = self._now_s()
            with contextlib.suppress(Unreachable, ApiError):
                models = await asyncio.gather(*(client.models.get(name) for name in self._models))
                looks = [_look(at_s, model.name, model.live) for model in models if model.live is not None]
                self._looks += looks
                self._tally.waiting = sum(one.queued for one in looks)
                self._tally.running = sum(one.running for one in looks)
                self._tally.workers = sum(one.workers for one in looks)
            self._tally.at_s = self._now_s()
            if self._told is not None:
                self._told(self._tally)
            await self._clock.sleep(every_s)

    async def _harm(self) -> None:
        for at_s in kills(self._plan) if self._victims is not None else ():
            await self._clock.sleep(max(0.0, at_s - self._now_s()))
            assert self._victims is not None
            before = self._victims.count()
            what = self._victims.kill()
            if what is not None:
                self._kills.append(Kill(at_s=self._now_s(), what=what, workers=before))

    # --- the record ---------------------------------------------------------------------------------------------------

    async def _recorded(self) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
        """Every job that was accepted, as the server has it; and those it does not know."""
        lanes = {one.job: one.lane for one in self._submits if one.job is not None}
        entries: dict[str, Entry] = {}
        for client in self._clients.values():
            async for job in client.jobs.list(created_after=self._began_at_s - ASIDE_S):
                if job.id in lanes:
                    entries[job.id] = self._entry(job, lanes[job.id])
        missing: list[str] = []
        for id, lane in lanes.items():
            if id in entries:
                continue
            try:  # a list that grew while it was read may have skipped it
                entries[id] = self._entry(await self._clients[self._plan.lanes[lane].tenant].jobs.get(id), lane)
            except NotFound:
                missing.append(id)
        return tuple(sorted(entries.values(), key=lambda one: one.created_s)), tuple(missing)

    def _entry(self, job: Job, lane: int) -> Entry:
        def since(at_s: float | None) -> float | None:
            return None if at_s is None else at_s - self._began_at_s

        return Entry(
            job=job.id,
            lane=lane,
            status=job.status,
            created_s=job.created_at_s - self._began_at_s,
            started_s=since(job.started_at_s),
            finished_s=since(job.finished_at_s),
            attempt=job.attempt,
            used_s=job.used_s,
            error=job.error.code if job.error is not None else None,
        )

    async def _growth(self) -> tuple[Growth, ...]:
        client, found = next(iter(self._clients.values())), list[Growth]()
        for model in self._models:
            with contextlib.suppress(Unreachable, ApiError):  # what a server would not tell leaves a gap in the report
                for one in (await client.models.scaling(model, limit=200)).decisions:
                    if one.at_s >= self._began_at_s:
                        found.append(
                            Growth(
                                at_s=one.at_s - self._began_at_s,
                                model=model,
                                before=one.before,
                                replicas=one.replicas,
                                reason=one.reason,
                                message=one.message,
                            )
                        )
        return tuple(sorted(found, key=lambda one: one.at_s))


def _look(at_s: float, model: str, live: LiveFigures) -> Look:
    return Look(
        at_s=at_s,
        model=model,
        queued=live.queued,
        running=live.running,
        ready=live.workers.ready,
        busy=live.workers.busy,
        starting=live.workers.starting,
        draining=live.workers.draining,
    )

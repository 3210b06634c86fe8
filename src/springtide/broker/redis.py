"""The broker on a Redis or Valkey server: any number of gateways, controllers and workers on any number of machines.

Every change is one Lua script on the keys of one model (`lua/prelude.lua` names them), so the promises of `protocol`
hold whoever asks at the same time. What is lost with the server's memory is put back from the ledger; what the server
keeps on disk is told at start (`durability`). Refuses a server before Redis 7.0, and never shows the URL's password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, compress
from typing import Any, TypeVar

from springtide.broker import redis_outcomes
from springtide.broker import redis_wire as wire
from springtide.broker.protocol import EVENTS_KEPT_S, TOMBSTONE_S
from springtide.broker.redis_doorbell import Bell, Doorbell
from springtide.broker.redis_scripts import RedisLink
from springtide.broker.redis_story import story
from springtide.domain.fleet import QueueView, Usage
from springtide.domain.ids import JobId, ModelName, WorkerId
from springtide.domain.job import TERMINAL, JobError, JobRef, JobStatus
from springtide.domain.lease import (
    LEASE_TTL_S,
    BeatReply,
    Completion,
    Failure,
    Held,
    Lease,
    LiveEvent,
    LiveJob,
    Outcome,
    Progress,
    Ticket,
    WakeUp,
    WorkerState,
)
from springtide.domain.tenant import Discipline
from springtide.runtime.batching import Batcher

T = TypeVar("T")
R = TypeVar("R")

CALL_ITEMS = 100  # of one script call: measured under 3 ms of the server, so nobody else waits longer
NEW_ITEMS = 500  # the same of enqueue_new.lua, which reads nothing: 5.5 µs each
BURIED_ENTRIES = 16  # of at most CALL_ITEMS each: the script does not look at their jobs, 1.5 µs each
ENDED_STORIES = 20_000  # of a model: EVENTS_KEPT_S alone would keep gigabytes at thousands of jobs a second
READ_BYTES = 4 << 20  # of outcomes in one call: as much as a worker reports in one
READ_STORIES = 64  # jobs whose events are read in one round trip
LATEST_BYTES = 1024  # of a story: more than one job's progress in a second (10 events of 50 bytes)

_LOOK_CLOSER = 2  # the reply of enqueue_new.lua for what may be known
_WORKER_LOST = wire.error_blob(JobError(code="worker_lost", message="The worker stopped answering.", retryable=True))
_ATTEMPTS_SPENT = wire.error_blob(JobError(code="attempts_spent", message="All attempts are spent."))


class RedisBroker:
    """`broker.protocol.Broker` on one server."""

    def __init__(self, url: str, models: Sequence[ModelName], *, consumer: str) -> None:
        """url: redis://, rediss:// or unix://. models: those whose outcomes `read_outcomes` gives. consumer: this
        reader of outcomes, by the same name again after a restart."""
        self._link = RedisLink(url)
        self._models = tuple(models)
        self._consumer = consumer
        self._bell = Doorbell(self._link)
        # Callers that come at the same time share a round trip: one at a time costs ten times as much a job.
        self._tickets: Batcher[tuple[Ticket, float], bool] = Batcher(self._enqueue, max_items=NEW_ITEMS)
        self._peeks: Batcher[JobRef, LiveJob | None] = Batcher(self._peek, max_items=5 * CALL_ITEMS)
        self._events: Batcher[tuple[JobRef, str | None], list[LiveEvent]] = Batcher(
            self._fetch_events, max_items=READ_STORIES
        )
        self._first_model = 0

    @property
    def durability(self) -> str:
        """What the server keeps on disk: "aof", "rdb", "none", or "unknown" where it does not say."""
        return self._link.durability

    async def start(self) -> None:
        await self._link.open()
        for model in self._models:  # users are often allowed all keys but no channel; say so now, not at the first job
            channel = f"{_tag(model)}:out"
            await self._link.call(lambda client, channel=channel: client.publish(channel, ""))

    async def stop(self) -> None:
        await self._bell.stop()
        for batcher in (self._tickets, self._peeks, self._events):
            await batcher.drain()
        await self._link.close()

    # --- the way in ---------------------------------------------------------------------------------------------

    async def configure(self, model: ModelName, discipline: Discipline) -> None:
        await self._run("configure", model, "0", *wire.discipline_args(discipline))

    async def enqueue(self, tickets: Sequence[Ticket], now_s: float) -> list[bool]:
        return await self._tickets.submit([(ticket, now_s) for ticket in tickets])

    async def _enqueue(self, entered: Sequence[tuple[Ticket, float]]) -> list[bool]:
        now_s = max(now_s for _, now_s in entered)
        tickets = [ticket for ticket, _ in entered]
        records = [wire.new_record(ticket, now_s) for ticket in tickets]
        new = [(each.model, (each, one)) for each, one in zip(tickets, records, strict=True) if one is not None]
        found = iter(await self._spread("enqueue_new", new, (repr(now_s),), wire.new_jobs, list[int], most=NEW_ITEMS))
        verdicts = [_LOOK_CLOSER if one is None else next(found) for one in records]
        if _LOOK_CLOSER in verdicts:
            others = [place for place, verdict in enumerate(verdicts) if verdict == _LOOK_CLOSER]
            rest = [(tickets[place].model, tickets[place]) for place in others]
            looked = await self._spread("enqueue", rest, (repr(now_s), _ATTEMPTS_SPENT), wire.tickets, wire.verdicts)
            for place, is_new in zip(others, looked, strict=True):
                verdicts[place] = is_new
        return [bool(verdict) for verdict in verdicts]

    async def cancel(self, refs: Sequence[JobRef], now_s: float) -> list[JobStatus | None]:
        items = [(ref.model, ref) for ref in refs]
        return await self._spread("cancel", items, (repr(now_s),), wire.jobs, wire.statuses)

    async def withdraw(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        items = [(ref.model, ref) for ref in refs]
        found = await self._spread("withdraw", items, (repr(now_s),), wire.jobs, wire.peeks)
        return wire.live_jobs(refs, found)

    # --- workers ------------------------------------------------------------------------------------------------

    async def lease(
        self, model: ModelName, worker: WorkerId, max_jobs: int, now_s: float, *, min_wait_s: float = 0.0
    ) -> list[Lease]:
        before = repr(now_s - min_wait_s) if min_wait_s > 0 else ""
        taken: list[Lease] = []
        while True:
            asked = min(max_jobs - len(taken), CALL_ITEMS)
            reply = await self._run("lease", model, repr(now_s), worker, asked, before)
            got = wire.leases(reply, model, worker)
            taken += got
            if len(got) < asked or len(taken) >= max_jobs:
                return taken

    async def beat(
        self,
        model: ModelName,
        worker: WorkerId,
        held: Sequence[Held],
        state: WorkerState,
        now_s: float,
        *,
        problem: JobError | None = None,
        usage: Usage | None = None,
    ) -> BeatReply:
        cancelled: tuple[JobId, ...] = ()
        lost: tuple[JobId, ...] = ()
        said = wire.worker_word(state, problem, usage)
        for first in range(0, max(len(held), 1), CALL_ITEMS):
            part = wire.held(held[first : first + CALL_ITEMS])
            reply = await self._run("beat", model, repr(now_s), worker, said, *part)
            cancelled += wire.job_ids(reply[0])
            lost += wire.job_ids(reply[1])
        return BeatReply(cancelled, lost)

    async def complete(
        self, model: ModelName, worker: WorkerId, done: Sequence[Completion], now_s: float
    ) -> list[bool]:
        items = [(model, item) for item in done]
        return await self._spread("complete", items, (repr(now_s), worker), wire.completions, wire.verdicts)

    async def fail(self, model: ModelName, worker: WorkerId, failed: Sequence[Failure], now_s: float) -> list[bool]:
        items = [(model, item) for item in failed]
        return await self._spread("fail", items, (repr(now_s), worker), wire.failures(now_s), wire.verdicts)

    async def release(self, model: ModelName, worker: WorkerId, held: Sequence[Held], now_s: float) -> list[bool]:
        items = [(model, item) for item in held]
        return await self._spread("release", items, (repr(now_s), worker), wire.held, wire.verdicts)

    async def leave(self, model: ModelName, worker: WorkerId, now_s: float) -> None:
        while await self._run("leave", model, repr(now_s), worker, _WORKER_LOST):
            pass

    async def wake(self, model: ModelName, worker: WorkerId, *, for_work: bool, wait_s: float) -> WakeUp:
        woken = await self._look_up(model, worker, for_work)
        if woken.work or woken.cancelled or wait_s <= 0:
            return woken
        doorbells = [f"{_tag(model)}:cx:{worker}"]
        if for_work:
            doorbells.append(f"{_tag(model)}:wake")
        found = await self._link.pop(doorbells, wait_s, is_usual=for_work)
        if found is None:
            return WakeUp()
        if found[0].decode() == doorbells[0]:
            rest = await self._look_up(model, worker, for_work)
            return WakeUp(work=rest.work, cancelled=(wire.job_id(found[1]), *rest.cancelled))
        return WakeUp(work=True)

    # --- live events --------------------------------------------------------------------------------------------

    async def publish(
        self, model: ModelName, worker: WorkerId, progress: Sequence[Progress], now_s: float
    ) -> list[bool]:
        items = [(model, item) for item in progress]
        return await self._spread("publish", items, (repr(now_s), worker), wire.progress, wire.verdicts)

    async def announce(self, model: ModelName, events: Sequence[LiveEvent]) -> None:
        for first in range(0, len(events), CALL_ITEMS):
            await self._run("announce", model, "0", *wire.events(events[first : first + CALL_ITEMS]))

    async def read_events(
        self, ref: JobRef, after: str | None, *, wait_s: float = 0.0, to_end: bool = False
    ) -> list[LiveEvent]:
        async def read() -> list[LiveEvent]:
            return (await self._events.submit([(ref, after)]))[0]

        def is_enough(events: Sequence[LiveEvent]) -> bool:
            return bool(events) and (not to_end or events[-1].kind in TERMINAL)

        return await self._read(read, [Bell(f"{_tag(ref.model)}:news", ref.id)], wait_s, is_enough)

    async def _fetch_events(self, asked: Sequence[tuple[JobRef, str | None]]) -> list[list[LiveEvent]]:
        # A reader that keeps up wants the newest few; who is further behind gets all in a second round trip.
        found = await self._fetch_stories(asked, LATEST_BYTES)
        behind = [place for place, events in enumerate(found) if events is None]
        if behind:
            whole = await self._fetch_stories([asked[place] for place in behind], None)
            for place, events in zip(behind, whole, strict=True):
                found[place] = events
        return [events or [] for events in found]

    async def _fetch_stories(
        self, asked: Sequence[tuple[JobRef, str | None]], last_bytes: int | None
    ) -> list[list[LiveEvent] | None]:
        """For each job its events as asked for; None where the last bytes of a long story do not tell them all."""
        limits = [0 if after is None or last_bytes is None else last_bytes for _, after in asked]

        async def fetch(client: Any) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for (ref, _), limit in zip(asked, limits, strict=True):
                pipeline.get(f"{_tag(ref.model)}:j:{ref.id}")
                pipeline.getrange(f"{_tag(ref.model)}:e:{ref.id}", -limit, -1)
                pipeline.zscore(f"{_tag(ref.model)}:tomb", ref.id)
            return await pipeline.execute()

        parts = await self._link.call(fetch)
        return [
            story(
                ref.id,
                parts[3 * n],
                parts[3 * n + 1],
                after,
                is_whole=not limits[n] or len(parts[3 * n + 1]) < limits[n],
                is_buried=parts[3 * n + 2] is not None,
            )
            for n, (ref, after) in enumerate(asked)
        ]

    # --- the record ---------------------------------------------------------------------------------------------

    async def read_outcomes(self, max_outcomes: int, *, wait_s: float = 0.0) -> list[Outcome]:
        async def read() -> list[Outcome]:
            self._first_model += 1  # a busy model must not keep the others' outcomes waiting
            found: list[Outcome] = []
            for n in range(len(self._models)):
                model = self._models[(self._first_model + n) % len(self._models)]
                asked = max_outcomes - len(found)  # entries are passed on unopened: many cost little more than one
                if asked <= 0:
                    break
                idle_ms = int(LEASE_TTL_S * 1000)
                reply = await self._run("outcomes", model, "0", self._consumer, asked, idle_ms, READ_BYTES)
                found += redis_outcomes.outcomes(model, reply)[:asked]  # the rest of an entry comes with the next read
            return found

        return await self._read(read, [Bell(f"{_tag(model)}:out") for model in self._models], wait_s)

    async def ack_outcomes(
        self, outcomes: Sequence[Outcome], now_s: float, *, announce: Sequence[LiveEvent] = ()
    ) -> None:
        by_model: dict[ModelName, list[Outcome]] = {}
        for outcome in outcomes:
            by_model.setdefault(outcome.model, []).append(outcome)
        events = {event.job: event for event in announce}
        for model, group in by_model.items():
            results, others = redis_outcomes.parted_results(group, events)
            calls = [results[first : first + BURIED_ENTRIES] for first in range(0, len(results), BURIED_ENTRIES)]
            done = await asyncio.gather(
                *(self._run("bury", model, repr(now_s), *redis_outcomes.burial(entries)) for entries in calls)
            )
            for entries in compress(calls, (not is_done for is_done in done)):
                others += chain.from_iterable(entries)
            for first in range(0, len(others), CALL_ITEMS):
                part = others[first : first + CALL_ITEMS]
                told = [event for one in part if (event := events.pop(one.id, None)) is not None]
                await self._run("ack", model, repr(now_s), *redis_outcomes.acks(part, told))

    # --- looking ------------------------------------------------------------------------------------------------

    async def peek(self, refs: Sequence[JobRef], now_s: float) -> list[LiveJob | None]:
        return await self._peeks.submit(refs)

    async def _peek(self, refs: Sequence[JobRef]) -> list[LiveJob | None]:
        found = await self._spread("peek", [(ref.model, ref) for ref in refs], ("0",), wire.jobs, wire.peeks)
        return wire.live_jobs(refs, found)

    async def known(self, refs: Sequence[JobRef]) -> list[bool]:
        return await self._spread("known", [(ref.model, ref) for ref in refs], ("0",), wire.jobs, wire.verdicts)

    async def queues(self, models: Sequence[ModelName], now_s: float) -> list[QueueView]:
        replies = await asyncio.gather(*(self._run("queues", model, repr(now_s)) for model in models))
        return [wire.queue_view(model, reply, now_s) for model, reply in zip(models, replies, strict=True)]

    async def held(self, models: Sequence[ModelName], now_s: float, *, min_age_s: float) -> list[LiveJob]:
        refs: list[JobRef] = []
        for model in models:
            leased = f"{_tag(model)}:seen"
            ids = await self._link.call(lambda client, key=leased: client.zrange(key, 0, -1))
            refs += [JobRef(model, wire.job_id(raw)) for raw in ids]
        return [
            view
            for view in await self.peek(refs, now_s)
            if view is not None and view.started_at_s is not None and view.started_at_s + min_age_s <= now_s
        ]

    async def reap(self, models: Sequence[ModelName], now_s: float) -> list[JobId]:
        taken: list[JobId] = []
        ages = [repr(now_s - age_s) for age_s in (LEASE_TTL_S, TOMBSTONE_S, EVENTS_KEPT_S)]
        for model in models:
            more = 1
            while more:
                more, *ids = await self._run("reap", model, repr(now_s), *ages, ENDED_STORIES, _WORKER_LOST)
                taken += wire.job_ids(ids)
        return taken

    # --- calling scripts ----------------------------------------------------------------------------------------

    async def _run(self, script: str, model: ModelName, *args: wire.Arg) -> Any:
        return await self._link.run(script, _tag(model), args)

    async def _look_up(self, model: ModelName, worker: WorkerId, for_work: bool) -> WakeUp:
        cancelled, work = await self._run("wake", model, "0", worker, int(for_work))
        return WakeUp(work=bool(work), cancelled=wire.job_ids(cancelled))

    async def _spread(
        self,
        script: str,
        items: Sequence[tuple[ModelName, T]],
        head: tuple[wire.Arg, ...],
        pack: Callable[[Sequence[T]], Sequence[wire.Arg]],
        unpack: Callable[[Any], Sequence[R]],
        *,
        most: int = CALL_ITEMS,
    ) -> list[R]:
        """Run `script` over items of any models, `most` in a call, and give the replies in the items' order."""
        places: dict[ModelName, list[int]] = {}
        for place, (model, _) in enumerate(items):
            places.setdefault(model, []).append(place)
        chunks = [
            (model, all_places[first : first + most])
            for model, all_places in places.items()
            for first in range(0, len(all_places), most)
        ]

        async def call(model: ModelName, chunk: list[int]) -> Sequence[R]:
            return unpack(await self._run(script, model, *head, *pack([items[place][1] for place in chunk])))

        if len(chunks) == 1:
            return [*await call(*chunks[0])]
        replies: list[Any] = [None] * len(items)
        # At once: between one call and the next the server has others to serve.
        for (_, chunk), found in zip(chunks, await asyncio.gather(*(call(*each) for each in chunks)), strict=True):
            for place, item in zip(chunk, found, strict=True):
                replies[place] = item
        return replies

    async def _read(
        self,
        read: Callable[[], Awaitable[list[T]]],
        bells: Sequence[Bell],
        wait_s: float,
        is_enough: Callable[[Sequence[T]], bool] = bool,
    ) -> list[T]:
        """Read until there is enough, woken by `bells`, for at most `wait_s`; gives what there is."""
        if wait_s <= 0:
            return await read()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait_s
        async with self._bell.listen(*bells) as rung:
            while True:
                rung.clear()
                found = await read()
                left_s = ends_at - loop.time()
                if is_enough(found) or left_s <= 0:
                    return found
                try:
                    async with asyncio.timeout(left_s):
                        await rung.wait()
                except TimeoutError:
                    return found


def _tag(model: ModelName) -> str:
    """The hash tag that keeps all keys of one model in one Cluster slot."""
    return f"{{p:{model}}}"

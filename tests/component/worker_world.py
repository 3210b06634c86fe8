"""A real worker with its real child process, a broker in memory and blobs in a folder: what the worker's tests run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from springtide.blobs.files import FileBlobs
from springtide.broker.memory import MemoryBroker
from springtide.domain.clock import Clock
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId, ModelName, TenantId, WorkerId
from springtide.domain.job import BlobRef, JobRef, JobStatus, Priority
from springtide.domain.lease import LiveEvent, Outcome, Payload, Ticket
from springtide.runtime.clock import SystemClock
from springtide.runtime.ids import new_blob_id, new_job_id
from springtide.telemetry.metrics import Metrics
from springtide.worker.service import Worker, WorkerSettings

MODEL = ModelName("model")


class WatchedBroker:
    """A broker whose calls are noted, and which is down for the verbs in `down`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.down: set[str] = set()
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if verb in self.down or "all" in self.down:
                self.calls.append((verb, args, kwargs, Unavailable))
                raise Unavailable("the broker is down")
            answer = await getattr(self._broker, verb)(*args, **kwargs)
            self.calls.append((verb, args, kwargs, answer))
            return answer

        return call

    def count(self, verb: str) -> int:
        return sum(called == verb for called, *_ in self.calls)


class World:
    """Start it with `async with`; then submit jobs and await their outcomes."""

    def __init__(
        self, folder: Path, engine: str = "worker_engines:Scripted", *, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.clock = clock or SystemClock()
        self.broker = MemoryBroker()
        self.watched = WatchedBroker(self.broker)
        self.blobs = FileBlobs(folder / "blobs")
        self.scratch = folder / "scratch"
        self.settings = WorkerSettings(
            model=MODEL,
            engine_reference=engine,
            weights_folder=folder / "weights",
            scratch_folder=self.scratch,
            **{"grace_s": 20.0, **settings},
        )
        self.metrics = Metrics()
        self.outcomes: dict[JobId, list[Outcome]] = {}
        self.tickets: dict[JobId, Ticket] = {}
        self.worker = self.new_worker("worker-1")
        self.running: asyncio.Task[None] | None = None

    def new_worker(self, name: str) -> Worker:
        return Worker(
            self.settings,
            worker_id=WorkerId(name),
            broker=self.watched,  # type: ignore[arg-type]
            blobs=self.blobs,
            clock=self.clock,
            rand=lambda: 0.0,
            metrics=self.metrics,
        )

    async def __aenter__(self) -> World:
        await self.broker.start()
        await self.blobs.start()
        self.running = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.running is not None
        self.watched.down.clear()
        self.worker.drain()
        if not self.running.done():
            # What a failed test left running is not waited for.
            await asyncio.wait([self.running], timeout=60)
            self.running.cancel()
        await asyncio.wait([self.running])
        if not self.running.cancelled():
            self.running.result()
        assert [path.name for path in self.scratch.iterdir()] == [".lock"]

    async def submit(self, do: str = "ok", *, file: BlobRef | None = None, **inputs: Any) -> JobId:
        return (await self.submit_many([{"do": do, **inputs}], file=file))[0]

    async def submit_many(
        self,
        inputs: list[dict[str, Any]],
        *,
        file: BlobRef | None = None,
        timeout_s: float = 60.0,
        max_attempts: int = 3,
        age_s: float = 0.0,
        traceparent: str | None = None,
    ) -> list[JobId]:
        now_s = time.time()
        tickets = [
            Ticket(
                id=new_job_id(),
                model=MODEL,
                tenant=TenantId("t"),
                priority=Priority.STANDARD,
                payload=_payload(each, file, traceparent),
                enqueued_at_s=now_s - age_s,
                timeout_s=each.pop("timeout_s", timeout_s),
                max_attempts=each.pop("max_attempts", max_attempts),
            )
            for each in inputs
        ]
        self.tickets.update((ticket.id, ticket) for ticket in tickets)
        await self.broker.enqueue(tickets, now_s)
        return [ticket.id for ticket in tickets]

    def forget_all(self) -> None:
        """The broker loses its memory."""
        self.broker = self.watched._broker = MemoryBroker()

    async def put_back(self, job: JobId) -> None:
        """What a sweep does for a job that nobody noted as running."""
        assert await self.broker.enqueue([self.tickets[job]], time.time()) == [True]

    async def put(self, data: bytes, media_type: str = "text/plain", name: str | None = "in.txt") -> BlobRef:
        async def chunks() -> Any:
            yield data

        blob = new_blob_id()
        written = await self.blobs.put(blob, chunks(), max_bytes=1 << 30)
        return BlobRef(id=blob, media_type=media_type, bytes=written.bytes, sha256=written.sha256, name=name)

    async def get(self, ref: BlobRef) -> bytes:
        return b"".join([chunk async for chunk in self.blobs.read(ref.id)])

    async def outcome(self, job: JobId, *, nth: int = 1) -> Outcome:
        """The job's nth outcome, waiting for it."""
        while len(self.outcomes.get(job, [])) < nth:
            await self._read()
        return self.outcomes[job][nth - 1]

    async def end_of(self, job: JobId) -> Outcome:
        """The terminal outcome, letting time pass for the broker where the next attempt is delayed."""
        while not self.outcomes.get(job) or not self.outcomes[job][-1].status.is_terminal:
            await self._read(wait_s=0.05)
            await self.broker.reap([MODEL], time.time())
        return self.outcomes[job][-1]

    async def events(self, job: JobId) -> list[LiveEvent]:
        return await self.broker.read_events(JobRef(MODEL, job), None)

    async def until_running(self, job: JobId) -> None:
        """Until the engine itself has said something of this job."""
        after = None
        while True:
            for event in await self.broker.read_events(JobRef(MODEL, job), after, wait_s=5.0):
                after = event.seq
                if event.kind == "progress":
                    return

    async def status(self, job: JobId) -> JobStatus:
        live = (await self.broker.peek([JobRef(MODEL, job)], time.time()))[0]
        assert live is not None
        return live.status

    async def cancel(self, job: JobId) -> None:
        await self.broker.cancel([JobRef(MODEL, job)], time.time())

    async def _read(self, wait_s: float = 5.0) -> None:
        found = await self.broker.read_outcomes(1000, wait_s=wait_s)
        await self.broker.ack_outcomes(found, time.time())
        for outcome in found:
            self.outcomes.setdefault(outcome.id, []).append(outcome)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that has no event of its own; the test's time limit is the only other end."""
    while not is_so():
        await asyncio.sleep(0.005)


def _payload(inputs: dict[str, Any], file: BlobRef | None, traceparent: str | None) -> bytes:
    own = {name: value for name, value in inputs.items() if name not in ("timeout_s", "max_attempts")}
    if file is None:
        return msgspec.msgpack.encode(Payload(own, traceparent=traceparent))
    return msgspec.msgpack.encode(Payload({**own, "file": file.id}, (file,), traceparent))

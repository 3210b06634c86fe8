"""Simulated clients: they submit, follow, cancel and insist, as clients of the HTTP side would, and remember what they
were promised.

Each job has an idempotency key, so a client that got no answer asks again. What a client was told stays true: an
accepted job ends, and the end that one client heard of is the end on record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from springtide.domain.errors import OutcomeUnknown, Refused, SpringtideError, Unavailable
from springtide.domain.ids import JobId, ModelName, TenantId
from springtide.domain.job import TERMINAL, Job, Priority
from springtide.domain.lease import seq_after
from springtide.domain.tenant import Tenant
from springtide.gateway.cancelling import ask_to_stop
from springtide.gateway.envelope import NextStep
from springtide.gateway.live import Live
from springtide.gateway.outlook import Outlook
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import Submission, SubmitRequest
from springtide.policy.pipelines import FROM
from springtide.sim.engine import Do
from springtide.sim.nodes import Node
from springtide.sim.trace import Trace

_TERMINAL_KINDS = frozenset(status.value for status in TERMINAL)
PIPELINES = 0.15  # share of the requests that name steps to do next
ASK_AGAIN_S = (0.2, 2.0)
_DOS: Mapping[Do, float] = {
    Do.OK: 0.53,
    Do.FILE: 0.16,
    Do.FAIL: 0.05,
    Do.STUMBLE: 0.08,
    Do.CRASH: 0.04,
    Do.HANG: 0.03,
    Do.DEAF: 0.04,
    Do.GREEDY: 0.03,
    Do.TIRE: 0.04,
}


class Gateway(msgspec.Struct):
    """One life of a gateway: its process, and its services without HTTP."""

    node: Node
    services: GatewayServices
    submission: Submission
    live: Live
    outlook: Outlook


class Front:
    """Where clients find the gateway, when there is one."""

    def __init__(self) -> None:
        self.gateway: Gateway | None = None

    async def ask(self, request: Callable[[Gateway], Any]) -> Any:
        """The answer, given by the gateway's own process. Raises Unavailable where that is gone or goes away."""
        gateway = self.gateway
        if gateway is None or not gateway.node.is_alive:
            raise Unavailable("connection refused")
        task = gateway.node.spawn(request(gateway))
        try:
            await asyncio.wait((task, gateway.node.died), return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
        if not task.done() or task.cancelled() or not gateway.node.is_alive:
            raise Unavailable("connection reset")
        return task.result()


class Clients:
    """All clients of a run."""

    def __init__(self, front: Front, models: list[ModelName], node: Node, trace: Trace) -> None:
        self._front = front
        self._models = models
        self.node = node
        self._rand = node.rand
        self._trace = trace
        self._serial = 0
        self.accepted: dict[JobId, Job] = {}
        self.heard: dict[JobId, str] = {}  # the end a client was told of
        self.busy = 0  # clients that have not heard yet what they want to know

    async def arrive(self, mean_gap_s: float) -> None:
        """Come, one after another, until cancelled. A burst now and then."""
        while True:
            await asyncio.sleep(self._rand.expovariate(1 / mean_gap_s))
            for _ in range(self._rand.randint(5, 30) if self._rand.random() < 0.02 else 1):
                self._start(self._one())

    def _start(self, client: Coroutine[Any, Any, None]) -> None:
        async def counted() -> None:
            self.busy += 1
            try:
                await client
            finally:
                self.busy -= 1

        self.node.spawn(counted())

    # --- one client -----------------------------------------------------------------------------------------------

    async def _one(self) -> None:
        self._serial += 1
        tag = f"t{self._serial}"
        request = self._request(tag)
        job = await self._insist(lambda gateway: gateway.submission.submit(request))
        known = self.accepted.setdefault(job.id, job)
        self._trace.add(f"accepted {job.id} {tag}")
        if known.inputs["tag"] != tag:
            self._trace.violation(f"{job.id} was given to {tag} and to {known.inputs['tag']}")
        if self._rand.random() < 0.06:
            self._start(self._cancel(job))
        match self._rand.random():
            case roll if roll < 0.3:
                await self._follow(job)
            case roll if roll < 0.5:
                await self._await_end(job)
            case roll if roll < 0.6:
                await self._insist(lambda gateway: gateway.outlook.eta(job))
            case _:
                pass  # fire and forget

    def _request(self, tag: str) -> SubmitRequest:
        rand = self._rand
        do = rand.choices(list(_DOS), list(_DOS.values()))[0]
        seconds = round(min(60.0, rand.lognormvariate(0.0, 1.2)), 3)
        return SubmitRequest(
            model=rand.choice(self._models),
            inputs={"tag": tag, "seconds": seconds, "steps": rand.randint(1, 6), "do": do.value},
            priority=rand.choice(list(Priority)),
            start_deadline_s=rand.uniform(5.0, 60.0) if rand.random() < 0.05 else None,
            idempotency_key=tag,
            tenant=Tenant(id=TenantId(rand.choice(("ann", "bob", "cleo")))),
            then=[self._step() for _ in range(rand.randint(1, 3))] if rand.random() < PIPELINES else [],
        )

    def _step(self) -> NextStep:
        """A later step of a pipeline, fed by the one before."""
        rand = self._rand
        seconds = round(min(60.0, rand.lognormvariate(0.0, 1.0)), 3)
        do = rand.choices(list(_DOS), list(_DOS.values()))[0]
        inputs = {"tag": {FROM: "tag"}, "seconds": seconds, "steps": rand.randint(1, 4), "do": do.value}
        return NextStep(model=rand.choice(self._models), inputs=inputs, name=None)

    async def _insist(self, request: Callable[[Gateway], Any]) -> Any:
        while True:
            try:
                return await self._front.ask(request)
            except Refused as error:
                await asyncio.sleep(error.retry_after_s * self._rand.uniform(1.0, 2.0))
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(self._rand.uniform(*ASK_AGAIN_S))

    async def _cancel(self, job: Job) -> None:
        await asyncio.sleep(self._rand.expovariate(0.5))
        await self._insist(lambda gateway: ask_to_stop(gateway.services, job))

    async def _await_end(self, job: Job) -> None:
        while not job.status.is_terminal:
            job = await self._insist(lambda gateway, job=job: gateway.live.wait(job, 30.0))
        self._hear(job.id, job.status.value)

    async def _follow(self, job: Job) -> None:
        """Read the event stream to its end, coming back with the last id seen whenever it breaks."""
        after: str | None = None
        while True:
            seen = _Reader(after)
            try:
                [fresh] = await self._front.ask(lambda gateway: gateway.services.ledger.get([job.id]))
                is_over = await self._front.ask(lambda gateway, job=fresh, seen=seen: seen.read(gateway, job))
            except SpringtideError:
                is_over = False
            after = seen.after
            if seen.problem:
                self._trace.violation(f"the event stream of {job.id}: {seen.problem}")
            if seen.end is not None:
                return self._hear(job.id, seen.end)
            if is_over:
                return self._trace.violation(f"the event stream of {job.id} was over before its end was told")
            await asyncio.sleep(self._rand.uniform(*ASK_AGAIN_S))

    def _hear(self, job: JobId, end: str) -> None:
        self._trace.add(f"heard {job} {end}")
        if self.heard.setdefault(job, end) != end:
            self._trace.violation(f"clients heard that {job} is {self.heard[job]} and that it is {end}")


class _Reader:
    """One connection to an event stream."""

    def __init__(self, after: str | None) -> None:
        self.after = after
        self.end: str | None = None
        self.problem: str | None = None

    async def read(self, gateway: Gateway, job: Job) -> bool:
        """Read until it ends. True: there is nothing more to be seen."""
        lines = await gateway.live.stream(job, self.after)
        if lines is None:
            return True
        async for chunk in lines:
            await gateway.node.pass_gate()
            self._take(chunk.decode())
        return False

    def _take(self, text: str) -> None:
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(":"))
        if "id" not in fields:  # a comment, or why the job waits: nothing to come back to
            return
        if self.end is not None:
            self.problem = f"{fields['event']} follows the end"
        if not seq_after(fields["id"], self.after):
            self.problem = f"{fields['event']} {fields['id']} follows {self.after}"
        self.after = fields["id"]
        if fields["event"] in _TERMINAL_KINDS:
            self.end = fields["event"]

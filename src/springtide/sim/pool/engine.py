"""The simulation itself: one heap of events, the arrivals beside it, the product's policies at their own intervals.

A replica runs one job at a time and is paid for from launch to termination. Of what a real cluster has, it leaves out
the network and the seconds that an actuator takes: those belong to the cold start.
"""

from __future__ import annotations

import heapq
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from springtide.policy.elastic.sharing import Claim, ShareMemory, ShareSettings, share
from springtide.policy.elastic.view import Advice, PoolView
from springtide.sim.pool.chance import seeded
from springtide.sim.pool.foretelling import Foretelling
from springtide.sim.pool.jobs import Jobs, led_in
from springtide.sim.pool.line import Line
from springtide.sim.pool.outcome import Outcome, Recorder
from springtide.sim.pool.pool import Pool, Replica
from springtide.sim.pool.weather import Weather

_DONE, _READY = 0, 1
PATIENCE_S = 86_400.0  # after the last arrival: a policy that starts nobody for a day never will


class Rule(Protocol):
    """What decides: a policy of the product, or one of others rebuilt."""

    @property
    def name(self) -> str: ...

    @property
    def interval_s(self) -> float: ...

    def decide(self, view: PoolView, memory: Any) -> tuple[Advice, Any]: ...


class Contender(Protocol):
    """A policy as the simulator runs it."""

    @property
    def policy(self) -> Rule: ...

    @property
    def initial(self) -> int:
        """Replicas that are up at the beginning, as its floor has it."""
        ...

    @property
    def cancels_loading(self) -> bool:
        """Whether its actuator takes replicas that still load before idle ones (a Kubernetes ReplicaSet does)."""
        ...


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The world around the policies."""

    weather: Weather = Weather()
    wait_s: float = 30.0  # the objective's
    accelerators: int | None = None  # shared by all models; None: as many as anybody wants
    min_replicas: int = 0  # of each model: kept up whatever a policy wishes
    weights: Sequence[float] = ()  # of tenants
    in_order: bool = False  # first come, first served
    seed: int = 1
    points: int = 160  # of each chart: a line that can be told from the others
    lead_in_s: float = (
        0.0  # the first seconds of the trace are run once before it, with the replicas that they keep busy
    )
    # from the begin; what happens then counts in no figure. A trace is cut out of a service's life: it does not begin
    # at full load with nobody there
    foretells: bool = False  # tell every job when it will be done, and see whether that was so


class Simulation:
    """`run()` once."""

    def __init__(self, jobs: Jobs, contender: Contender, setup: Setup, *, told: Callable[[float], None] | None = None):
        """told: hears now and then how far it is, 0 to 1."""
        setup = msgspec.structs.replace(setup, lead_in_s=max(0.0, min(setup.lead_in_s, jobs.span_s)))
        jobs = led_in(jobs, setup.lead_in_s) if setup.lead_in_s else jobs
        self._jobs, self._contender, self._setup, self._told = jobs, contender, setup, told
        self._chance = seeded("fleet", setup.seed)
        self._pools = [
            Pool(
                jobs,
                Line(jobs, weights=setup.weights, in_order=setup.in_order),
                setup.weather,
                wait_s=setup.wait_s,
                chance=self._chance,
            )
            for _ in jobs.models
        ]
        self._policy = contender.policy
        self._memory: list[Any] = [None] * len(self._pools)
        self._advice: list[Advice | None] = [None] * len(self._pools)
        self._share = ShareMemory()
        self._heap: list[tuple[float, int, int, Replica]] = []
        self._count = 0
        self._end_s = jobs.span_s + 1e-9
        self._waits = array("d", [math.nan]) * len(jobs)
        self._left = len(jobs)
        self._recorder = Recorder(self._end_s, wait_s=setup.wait_s, lead_in_s=setup.lead_in_s, points=setup.points)
        self._foretelling = Foretelling(jobs, cold_start_s=setup.weather.expected_s) if setup.foretells else None

    def run(self) -> Outcome:
        """Until every job has run."""
        at_s, model, pools, heap = self._jobs.at_s, self._jobs.model, self._pools, self._heap
        for number, pool in enumerate(pools):
            for _ in range(max(self._contender.initial, self._setup.min_replicas, self._kept_busy(number))):
                self._become_ready(pool.launch(0.0), 0.0)
        coming, total, look_s, every_s = 0, len(at_s), 0.0, self._policy.interval_s
        due_s = at_s[0] if at_s else math.inf
        while self._left:
            next_s = heap[0][0] if heap else math.inf
            if due_s <= next_s and due_s <= look_s:
                pool = pools[model[coming]] if model else pools[0]
                pool.advance(due_s)
                if self._foretelling is not None:
                    self._foretelling.arrived(coming, pool, due_s)
                pool.arrive(coming)
                coming += 1
                if pool.idle:
                    self._dispatch(pool, due_s)
                due_s = at_s[coming] if coming < total else math.inf
            elif next_s <= look_s:
                now_s, kind, _, what = heapq.heappop(heap)
                if kind == _DONE:
                    self._end(what, now_s)
                elif not what.gone:
                    self._come_up(what, now_s)
            else:
                self._look(look_s)
                if look_s > self._end_s + PATIENCE_S:
                    break
                look_s += every_s
        for pool in pools:
            for replica in [*pool.loading, *pool.idle, *pool.busy]:
                self._bill(replica, self._end_s)
        found = self._recorder.outcome(self._jobs, self._contender.policy.name, pools=pools, waits=self._waits)
        if (told := self._foretelling) is None or not told.jobs:
            return found
        return msgspec.structs.replace(found, eta_held50=told.held50 / told.jobs, eta_held90=told.held90 / told.jobs)

    def _kept_busy(self, number: int) -> int:
        """Replicas that the jobs of the lead-in keep busy."""
        lead_s, jobs = self._setup.lead_in_s, self._jobs
        if not lead_s:
            return 0
        first = range(bisect_left(jobs.at_s, lead_s))
        return math.ceil(sum(jobs.run_s[i] for i in first if (jobs.model[i] if jobs.model else 0) == number) / lead_s)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _push(self, at_s: float, kind: int, what: Replica) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_s, kind, self._count, what))

    def _dispatch(self, pool: Pool, now_s: float) -> None:
        jobs, line, idle = self._jobs, pool.line, pool.idle
        while idle and line.count:
            replica = idle.pop()  # the one that was busy last: the others may become superfluous
            job = line.pop()
            run_s = jobs.run_s[job]
            if math.isnan(self._waits[job]):
                waited_s = self._waits[job] = now_s - jobs.at_s[job]
                pool.started += 1
                pool.late += waited_s > pool.wait_s
                pool.begin(job)
            replica.job, replica.free_s = job, now_s + jobs.predicted_s[job]
            pool.busy[replica] = None
            crash_s = pool.weather.crash_after_s(run_s, self._chance)
            if crash_s is not None:
                replica.job = ~job
            self._push(now_s + (run_s if crash_s is None else crash_s), _DONE, replica)

    def _end(self, replica: Replica, now_s: float) -> None:
        pool = replica.pool
        pool.advance(now_s)
        del pool.busy[replica]
        if replica.leaving:
            pool.leaving -= 1
        if replica.job < 0:  # it died with its job: the job waits again
            pool.crashes += 1
            pool.line.push(~replica.job)
            self._bill(replica, now_s)
            return
        self._left -= 1
        if self._foretelling is not None:
            self._foretelling.ended(replica.job, now_s)
        if replica.leaving:
            self._bill(replica, now_s)
            return
        self._become_idle(replica, now_s)

    def _come_up(self, replica: Replica, now_s: float) -> None:
        pool = replica.pool
        pool.advance(now_s)
        if pool.weather.start_fails and self._chance.random() < pool.weather.start_fails:
            pool.loading.remove(replica)
            pool.crashes += 1
            self._bill(replica, now_s)
            return
        self._become_ready(replica, now_s)

    def _become_ready(self, replica: Replica, now_s: float) -> None:
        replica.pool.loading.remove(replica)
        self._become_idle(replica, now_s)

    def _become_idle(self, replica: Replica, now_s: float) -> None:
        replica.idle_since_s = now_s
        replica.pool.idle.append(replica)
        if replica.pool.line.count:
            self._dispatch(replica.pool, now_s)

    def _bill(self, replica: Replica, now_s: float) -> None:
        replica.gone = True
        begin_s, end_s = max(replica.born_s, self._setup.lead_in_s), min(now_s, self._end_s)
        replica.pool.billed_s += max(0.0, end_s - begin_s)

    # --- what is decided ----------------------------------------------------------------------------------------------

    def _look(self, now_s: float) -> None:
        decide, memory, said = self._policy.decide, self._memory, self._advice
        for number, pool in enumerate(self._pools):
            advice, memory[number] = decide(pool.view(now_s), memory[number])
            if advice.replicas < self._setup.min_replicas:
                advice = msgspec.structs.replace(advice, replicas=self._setup.min_replicas)
            said[number] = advice
        wanted = self._granted(now_s) if self._setup.accelerators is not None else None
        for number, pool in enumerate(self._pools):
            wish = said[number]
            assert wish is not None
            self._apply(pool, wish.replicas if wanted is None else wanted[number], now_s)
        self._recorder.look(now_s, self._pools)
        if self._told is not None:
            self._told(min(1.0, now_s / self._end_s))

    def _granted(self, now_s: float) -> list[int]:
        """Who gets the accelerators where all wishes together are more than there are."""
        assert self._setup.accelerators is not None
        claims: dict[str, Claim] = {}
        for name, pool, advice in zip(self._jobs.models, self._pools, self._advice, strict=True):
            assert advice is not None
            busy = len(pool.busy)
            work_s = pool.line.work_s + sum(max(0.0, replica.free_s - now_s) for replica in pool.busy)
            claims[name] = Claim(
                wish=advice.replicas,
                idle=len(pool.idle),
                busy=busy,
                loading=len(pool.loading),
                draining=pool.leaving,
                waiting=pool.line.count,
                work_s=work_s,
                wait_s=pool.wait_s,
                cold_start_s=pool.weather.expected_s,
            )
        settings = ShareSettings(budget={"accelerators": float(self._setup.accelerators)})
        grants, self._share = share(claims, now_s, self._share, settings)
        return [grants[name] for name in self._jobs.models]

    def _apply(self, pool: Pool, wanted: int, now_s: float) -> None:
        more = wanted - pool.staying
        if not more:
            return
        pool.events += now_s >= self._setup.lead_in_s
        if more > 0:
            for _ in range(more):
                replica = pool.launch(now_s)
                self._push(replica.ready_s, _READY, replica)
            return
        for replica in pool.shrink(-more, now_s, cancels_loading=self._contender.cancels_loading):
            self._bill(replica, now_s)


def simulate(jobs: Jobs, contender: Contender, setup: Setup, *, told: Callable[[float], None] | None = None) -> Outcome:
    """One policy on one trace."""
    return Simulation(jobs, contender, setup, told=told).run()

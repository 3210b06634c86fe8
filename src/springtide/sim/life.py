"""The product itself on a job trace: gateway, controller, fleet and workers, without faults, in virtual time.

What `springtide.sim.pool` leaves out is in here: heartbeats, leases, the scaler's own rounds, signals as old as they
are. So this is what its figures are held against.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from springtide.controller.signals import Pool
from springtide.domain.ids import JobId, ModelName
from springtide.gateway.readiness import Eta
from springtide.gateway.submission import SubmitRequest
from springtide.ledger.sql import SqlLedger
from springtide.policy.elastic.view import Policy
from springtide.sim.clients import Front, Gateway
from springtide.sim.engine import Machine
from springtide.sim.links import Address, Network, SimBlobs
from springtide.sim.loop import run_virtually
from springtide.sim.nodes import Host, Node, task_factory
from springtide.sim.parts import ControllerRole, GatewayRole, Keeper, SimModel, Site
from springtide.sim.pool.chance import seeded
from springtide.sim.pool.jobs import Jobs
from springtide.sim.trace import Trace
from springtide.sim.watch import Watch

LOOK_EVERY_S = 0.25
PATIENCE_S = 3600.0  # after the last arrival
FIRST_LOOK_S = 5.0  # for the processes to come up before the trace begins


class Lived(msgspec.Struct, frozen=True, kw_only=True):
    """How it went. Seconds of the trace."""

    waits_s: list[float]  # of each job, in the order of arrival: from accepted to begun
    held50: float | None  # share of jobs that ended within the bands they were told; None: none was told any
    held90: float | None
    replicas: list[tuple[float, int]]  # (second, workers that load, wait or run) at every look
    launches: int


def live(jobs: Jobs, policy: Policy, *, wait_s: float, cold_start_s: float, most: int, seed: int = 1) -> Lived:
    """Run `jobs` (of one model) by `policy`, which aims at waits of `wait_s`; a worker loads for `cold_start_s`."""
    with tempfile.TemporaryDirectory(prefix="springtide-life-") as folder:

        async def run() -> Lived:
            return await _Life(jobs, policy, wait_s, cold_start_s, most=most, folder=Path(folder), seed=seed).run()

        return run_virtually(run)


class _Life:
    def __init__(
        self, jobs: Jobs, policy: Policy, wait_s: float, cold_start_s: float, *, most: int, folder: Path, seed: int
    ) -> None:
        asyncio.get_running_loop().set_task_factory(task_factory)
        self._jobs = jobs
        self._model = ModelName(jobs.models[0])
        self._host = Host("laptop")
        name = f"life {seed}"
        trace = Trace(keep=False)
        network = Network(trace, Node("outside", Host("outside"), name))
        model = SimModel(
            name=self._model,
            machine=Machine(load_s=(cold_start_s, cold_start_s)),
            slots=1,
            batch=1,
            min_replicas=0,
            max_replicas=most,
            timeout_s=24 * 3600.0,
        )
        self._site = Site(
            seed=name,
            folder=folder,
            models={self._model: model},
            trace=trace,
            watch=Watch(trace),
            network=network,
            address=Address(),
            front=Front(),
            ledger=SqlLedger(f"sqlite:///{folder}/ledger.db"),
            database=Node("database", self._host, name),
            blobs=SimBlobs(),
            control_host=self._host,
            worker_hosts=[self._host],
            rand=seeded(name),
        )
        self._clients = Node("clients", Host("clients"), name)
        self._controller = ControllerRole(
            self._site,
            keeps_record=False,
            policies={self._model: policy},
            pools={self._model: Pool(models=(self._model,), wait_s=wait_s)},
        )
        self._replicas: list[tuple[float, int]] = []
        self._seen: set[str] = set()

    async def run(self) -> Lived:
        loop, site = asyncio.get_running_loop(), self._site
        await site.ledger.start()
        roles = (GatewayRole(site, lambda _: None), self._controller)
        keepers = [Keeper(site, role, self._host) for role in roles]
        keeping = [loop.create_task(keeper.keep()) for keeper in keepers]
        await asyncio.sleep(FIRST_LOOK_S)
        began_s = loop.time()
        looking = loop.create_task(self._look(began_s))
        asked = []
        for number, at_s in enumerate(self._jobs.at_s):
            await asyncio.sleep(max(0.0, began_s + at_s - loop.time()))
            asked.append(self._clients.spawn(self._submit(number)))
        told = list(await asyncio.gather(*asked))
        ended = await self._ended([job for job, _ in told])
        held = [
            _held(eta, job.finished_at_s - job.created_at_s) for job, (_, eta) in zip(ended, told, strict=True) if eta
        ]
        for task in (looking, *keeping):
            task.cancel()
        nodes = [keeper.node for keeper in keepers] + [process.node for process in self._controller.processes()]
        for node in (*nodes, self._clients, site.database):
            if node is not None:
                node.kill()
        await asyncio.sleep(1.0)
        await site.ledger.stop()
        if site.trace.violations:
            raise RuntimeError("; ".join(site.trace.violations[:3]))
        return Lived(
            waits_s=[job.started_at_s - job.created_at_s for job in ended],
            held50=sum(half for half, _ in held) / len(held) if held else None,
            held90=sum(most for _, most in held) / len(held) if held else None,
            replicas=self._replicas,
            launches=len(self._seen),
        )

    async def _submit(self, number: int) -> tuple[JobId, Eta | None]:
        jobs = self._jobs
        inputs = {
            "tag": f"t{number}",
            "seconds": jobs.run_s[number],
            "foreseen_s": jobs.predicted_s[number],
            "steps": 1,
        }
        request = SubmitRequest(model=self._model, inputs=inputs)

        async def ask(gateway: Gateway) -> tuple[JobId, Eta | None]:
            job = await gateway.submission.submit(request)
            return job.id, gateway.outlook.promise_of(job)

        return await self._site.front.ask(ask)

    async def _ended(self, ids: list[JobId]) -> list[Any]:
        """Once all have."""
        for _ in range(int(PATIENCE_S)):
            found = await self._site.ledger.get(ids)
            if all(job is not None and job.status.is_terminal for job in found):
                return found
            await asyncio.sleep(1.0)
        raise TimeoutError(f"not all of {len(ids)} jobs have ended")

    async def _look(self, began_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            here = self._controller.processes()
            self._seen.update(process.node.name for process in here)
            self._replicas.append((loop.time() - began_s, len(here)))
            await asyncio.sleep(LOOK_EVERY_S)


def _held(eta: Eta, took_s: float) -> tuple[bool, bool]:
    """Whether half of the promises, and nine of ten, should have been kept by this one."""
    return eta.likely_low_s <= took_s <= eta.likely_high_s, eta.low_s <= took_s <= eta.high_s

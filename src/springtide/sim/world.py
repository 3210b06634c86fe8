"""One simulated run: a seed becomes an installation, its load and its faults; what comes back is what was promised and
was not kept.

The run has two parts. While the faults go on, the checkers watch every step. Then all is healed, nobody submits any
more, and everything that was accepted has to end.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from pathlib import Path

import msgspec

from springtide.domain.ids import ModelName, TenantId
from springtide.domain.tenant import MAX_QUEUED, Discipline, Tenant
from springtide.ledger.sql import SqlLedger
from springtide.sim.clients import Clients, Front
from springtide.sim.engine import SEGFAULT, Machine
from springtide.sim.faults import Faults, heal
from springtide.sim.links import Address, Network, SimBlobs
from springtide.sim.loop import run_virtually
from springtide.sim.nodes import Host, Node, task_factory
from springtide.sim.parts import BrokerRole, ControllerRole, GatewayRole, Keeper, SimModel, Site
from springtide.sim.trace import LogToTrace, Trace
from springtide.sim.watch import Watch, WatchedBroker

STUCK_AFTER_S = 300.0  # once healed: far longer than any back-off, time limit or lease
COUNT_EVERY_S = 10.0
STOPPED_AFTER_S = 60.0  # an idle worker leaves within its longest wait
BIG_STEPS_S = (-3600.0, -20.0, -7.0, -0.4, 0.4, 7.0, 20.0, 3600.0)  # one host: everybody's clock is set together
SMALL_STEPS_S = (-1.0, -0.2, 0.2, 1.0)  # several hosts are expected to keep time to a few seconds


_SHARED = Discipline(
    max_running=8,
    tenants=(Tenant(id=TenantId("ann"), weight=4.0), Tenant(id=TenantId("bob"), max_running=2, max_queued=15)),
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run."""

    seed: int
    hours: float = 1.0
    faults: bool = True
    keep_trace: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    plan: Plan
    shape: str
    violations: list[str]
    digest: str  # of the trace: the same for the same seed, on any machine
    lines: int
    accepted: int
    counts: dict[str, int]
    simulated_s: float
    trace: str


def simulate(plan: Plan) -> Outcome:
    """Run one seed to its end."""
    with tempfile.TemporaryDirectory(prefix="springtide-sim-", dir=_fast_folder()) as folder:

        async def run() -> Outcome:
            return await World(plan, Path(folder)).run()

        return run_virtually(run)


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(task_factory)
        loop.set_exception_handler(self._on_complaint)
        self._plan = plan
        self._seed = f"seed {plan.seed}"
        self._rand = random.Random(self._seed)  # noqa: S311 - the same chance each time is what is wanted
        self.trace = Trace(keep=plan.keep_trace)
        self._watch = Watch(self.trace)
        self._is_embedded = self._rand.random() < 0.5
        control = Host("control")
        far = [Host(f"gpu{n}", skew_s=self._rand.uniform(-1.0, 1.0)) for n in range(2)]
        self._hosts = [control] if self._is_embedded else [control, *far]
        self._outside = Node("outside", Host("outside"), self._seed)
        self.network = Network(self.trace, self._outside)
        self._models = self._draw_models()
        self._site = Site(
            seed=self._seed,
            folder=folder,
            models={model.name: model for model in self._models},
            trace=self.trace,
            watch=self._watch,
            network=self.network,
            address=Address(),
            front=Front(),
            ledger=SqlLedger(f"sqlite:///{folder}/ledger.db"),
            database=Node("database", control, self._seed),
            blobs=SimBlobs(),
            control_host=control,
            worker_hosts=self._hosts if self._is_embedded else far,
            rand=self._rand,
        )
        self._controller = ControllerRole(self._site, keeps_record=not self._is_embedded)
        self._keepers = self._make_keepers(control)
        self._clients = Clients(
            self._site.front, list(self._site.models), Node("clients", Host("clients"), self._seed), self.trace
        )
        self._broker: WatchedBroker | None = None

    async def run(self) -> Outcome:
        """The whole run."""
        handler = LogToTrace(self.trace, str(self._site.folder))
        log = logging.getLogger("springtide")
        before = log.level, log.propagate
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            await self._site.ledger.start()
            self.trace.add(f"{self._seed}: {self.shape()}")
            await self._live()
            await self._check_the_end()
            await self._stop()
            await self._site.ledger.stop()
        finally:
            log.removeHandler(handler)
            log.setLevel(before[0])
            log.propagate = before[1]
        return self._outcome()

    def shape(self) -> str:
        """What the seed has made of the installation."""
        models = ", ".join(
            f"{one.name}: {one.min_replicas}-{one.max_replicas} replicas, slots {one.slots}, batch {one.batch}"
            for one in self._models
        )
        return f"{'embedded' if self._is_embedded else 'cluster'}; {models}"

    # --- the two parts --------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        keeping = [loop.create_task(keeper.keep()) for keeper in self._keepers]
        counting = loop.create_task(self._count())
        arriving = loop.create_task(self._clients.arrive(self._rand.uniform(1.5, 4.0)))
        chaos = Node("chaos", Host("chaos"), self._seed)
        if self._plan.faults:
            steps = BIG_STEPS_S if self._is_embedded else SMALL_STEPS_S
            chaos.spawn(Faults(self, chaos, clock_steps_s=steps).run())
        await asyncio.sleep(self._plan.hours * 3600)
        arriving.cancel()
        chaos.kill()
        self.trace.add("HEALED")
        heal(self.network, [*self.workers(), *self.servers()])
        await self._until_all_ended()
        await asyncio.sleep(30.0)  # for whatever might still happen to what has ended
        counting.cancel()
        for task in keeping:
            task.cancel()

    async def _until_all_ended(self) -> None:
        before, quiet_s = -1, 0
        while quiet_s < STUCK_AFTER_S:
            if not self._clients.busy and all(job in self._watch.ended for job in self._clients.accepted):
                return
            quiet_s = quiet_s + 1 if before == len(self._watch.ended) else 0
            before = len(self._watch.ended)
            await asyncio.sleep(1.0)
        stuck = [job for job in self._clients.accepted if job not in self._watch.ended]
        self.trace.violation(f"{len(stuck)} accepted jobs have not ended, such as {stuck[:3]}")
        if self._clients.busy:
            self.trace.violation(f"{self._clients.busy} clients still wait")

    async def _stop(self) -> None:
        """Workers drain and leave by themselves; what is left then is killed."""
        for node in self.servers():  # the controller's workers see it go
            node.kill()
        self._controller.gone()
        await asyncio.sleep(STOPPED_AFTER_S)
        if left := self._controller.processes():
            self.trace.violation(f"{len(left)} workers have not drained: {[process.node.name for process in left]}")
        for node in [*self.workers(), *self.servers(), self._clients.node, self._outside, self._site.database]:
            node.kill()
        await asyncio.sleep(1.0)

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_EVERY_S)
            if self._broker is not None:
                await self._broker.check_counts(list(self._site.models), self._hosts[0].now_s())

    async def _check_the_end(self) -> None:
        accepted = self._clients.accepted
        found = await self._site.ledger.get(list(accepted))
        for job, row in zip(accepted, found, strict=True):
            end = self._watch.ended.get(job)
            if row is None or end is None:
                self.trace.violation(f"{job} was accepted and is not on record as ended")
                continue
            if row.status is not end.status:
                self.trace.violation(f"{job} ended {end.status} and is {row.status} on record")
            if (heard := self._clients.heard.get(job)) is not None and heard != row.status.value:
                self.trace.violation(f"{job}: a client heard {heard}, on record is {row.status}")
            for file in row.output_files:
                if file.id not in self._site.blobs.stored:
                    self.trace.violation(f"{job} names a file that is not there: {file.id}")
            attempts = [one.attempt for one in await self._site.ledger.attempts(job)]
            if attempts != sorted(set(attempts)) or any(number > row.max_attempts for number in attempts):
                self.trace.violation(f"{job} has attempts {attempts} of {row.max_attempts} on record")
        if self._broker is None or self._broker.unfinished:
            self.trace.violation(f"the broker is left with {self._broker and self._broker.unfinished} jobs")

    def _outcome(self) -> Outcome:
        return Outcome(
            plan=self._plan,
            shape=self.shape(),
            violations=self.trace.violations,
            digest=self.trace.digest(),
            lines=self.trace.lines,
            accepted=len(self._clients.accepted),
            counts=dict(sorted(self._watch.counts.items())),
            simulated_s=asyncio.get_running_loop().time(),
            trace=self.trace.text(),
        )

    # --- faults.Victims -------------------------------------------------------------------------------------------

    def workers(self) -> list[Node]:
        return [process.node for process in self._controller.processes()]

    def servers(self) -> list[Node]:
        return [keeper.node for keeper in self._keepers if keeper.node is not None and keeper.node.is_alive]

    def hosts(self) -> list[Host]:
        return self._hosts

    def kill_child(self) -> None:
        living = [child for child in self._site.children if child.is_alive]
        if living:
            self._rand.choice(living).die(SEGFAULT)

    # --- drawing --------------------------------------------------------------------------------------------------

    def _draw_models(self) -> list[SimModel]:
        rand = self._rand
        models: list[SimModel] = []
        for name in ("matting", "speech", "face")[: rand.randint(1, 3)]:
            batch = rand.choice((1, 1, 1, 4))
            machine = Machine(
                load_fails=rand.choice((0.0, 0.1)),
                load_dies=rand.choice((0.0, 0.05)),
                max_batch=rand.choice((1, batch)),
            )
            models.append(
                SimModel(
                    name=ModelName(name),
                    machine=machine,
                    slots=rand.randint(max(2, batch), 6),
                    batch=batch,
                    min_replicas=rand.randint(0, 1),
                    max_replicas=rand.randint(2, 4),
                    max_queued=rand.choice((25, MAX_QUEUED)),
                    discipline=rand.choice((Discipline(), _SHARED)),
                )
            )
        return models

    def _make_keepers(self, host: Host) -> list[Keeper]:
        def new_broker(watched: WatchedBroker) -> None:
            self._broker = watched

        site = self._site
        gateway = GatewayRole(site, new_broker if self._is_embedded else None)
        keepers = [Keeper(site, gateway, host), Keeper(site, self._controller, host)]
        return keepers if self._is_embedded else [Keeper(site, BrokerRole(site, new_broker), host), *keepers]

    def _on_complaint(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        self.trace.violations.append(f"asyncio: {context.get('message')}: {error!r}")


def _fast_folder() -> str | None:
    """Memory, where there is a folder in it: the runs are about order, not about disks."""
    memory = Path("/dev/shm")  # noqa: S108 - the folder in it gets a name of its own
    return str(memory) if memory.is_dir() else None

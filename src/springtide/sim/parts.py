"""The processes of a simulated installation: each made of the product's own parts, as `cli.gateway_main`,
`controller_main` and `worker_main` make them.

Embedded, the gateway's process holds the broker and the loops beside the ledger, and another one the fleet. As a
cluster, gateway, controller and broker are three processes, and the broker is reached by the network from everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from springtide.blobs.protocol import Blobs
from springtide.broker.memory import MemoryBroker
from springtide.broker.protocol import Broker
from springtide.controller.conductor import Conductor
from springtide.controller.costs import Costs
from springtide.controller.reaper import Reaper
from springtide.controller.recorder import Recorder
from springtide.controller.scaler import Scaler
from springtide.controller.signals import Pool, Signals
from springtide.controller.sweeper import Sweeper
from springtide.domain.errors import OutcomeUnknown, Unavailable
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.tenant import MAX_QUEUED, Discipline, Quotas
from springtide.engines.binding import describe
from springtide.gateway.admission import Admission
from springtide.gateway.heard_ends import HeardEnds
from springtide.gateway.keyring import Keyring
from springtide.gateway.live import Live
from springtide.gateway.metering import Metering
from springtide.gateway.outlook import Outlook
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import Submission
from springtide.ledger.history import FleetHistory
from springtide.ledger.protocol import Ledger
from springtide.ledger.webhooks import Webhooks
from springtide.media.inspector import Inspector
from springtide.policy.elastic.backlog import BacklogSettings
from springtide.policy.elastic.named import bound
from springtide.policy.elastic.view import Policy
from springtide.sim.clients import Front, Gateway
from springtide.sim.engine import Machine, SimChild, SimEngine
from springtide.sim.fleet import SimFleet, WorkerProcess
from springtide.sim.links import Address, BrokerLink, BrokerServer, LedgerLink, Network, SimBlobs
from springtide.sim.nodes import Host, Node
from springtide.sim.trace import Trace
from springtide.sim.watch import Watch, WatchedBroker
from springtide.worker.service import Worker
from springtide.worker.settings import WorkerSettings

RESTART_S = (0.2, 6.0)  # from a process' end to its next start


class SimModel(msgspec.Struct, frozen=True, kw_only=True):
    """One configured model."""

    name: ModelName
    machine: Machine
    slots: int
    batch: int
    max_replicas: int
    min_replicas: int
    timeout_s: float = 75.0  # above the longest run that a client asks for
    max_attempts: int = 3
    max_queued: int = MAX_QUEUED
    discipline: Discipline = Discipline()


class Site(msgspec.Struct, kw_only=True):
    """What all processes share: what lies outside them."""

    seed: str
    folder: Path
    models: Mapping[ModelName, SimModel]
    trace: Trace
    watch: Watch
    network: Network
    address: Address
    front: Front
    ledger: Any
    database: Node
    blobs: SimBlobs
    control_host: Host
    worker_hosts: list[Host]
    rand: Any
    children: list[SimChild] = []
    lives: dict[str, int] = {}

    def node(self, role: str, host: Host) -> Node:
        """A new process; the name says which life it is."""
        life = self.lives[role] = self.lives.get(role, 0) + 1
        return Node(f"{role}-{life}", host, self.seed)

    def sweeper(self, broker: Broker, ledger: Ledger, clock: Host) -> Sweeper:
        disciplines = {name: model.discipline for name, model in self.models.items()}
        return Sweeper(broker, ledger, list(self.models), clock, disciplines=disciplines)

    def broker_link(self, node: Node) -> Broker:
        return cast("Broker", BrokerLink(node, self.address, self.network))

    def ledger_link(self, node: Node) -> Ledger:
        link = LedgerLink(node, self.database, self.ledger, network=self.network, watch=self.watch)
        return cast("Ledger", link)

    def history_link(self, node: Node) -> FleetHistory:
        link = LedgerLink(node, self.database, self.ledger.history, network=self.network, watch=self.watch)
        return cast("FleetHistory", link)

    def webhooks_link(self, node: Node) -> Webhooks:
        link = LedgerLink(node, self.database, self.ledger.webhooks, network=self.network, watch=self.watch)
        return cast("Webhooks", link)


class Role(Protocol):
    """A process that is started again whenever it has died."""

    name: str

    async def begin(self, node: Node) -> None:
        """Build and start its parts, inside `node`."""
        ...

    def gone(self) -> None:
        """Its process has died."""
        ...


class Keeper:
    """Starts a role's process, and starts it again."""

    def __init__(self, site: Site, role: Role, host: Host) -> None:
        self._site = site
        self._role = role
        self._host = host
        self.node: Node | None = None

    async def keep(self) -> None:
        site, role = self._site, self._role
        while True:
            node = self.node = site.node(role.name, self._host)
            site.trace.add(f"start {node.name}")
            beginning = node.spawn(role.begin(node))
            await asyncio.wait((beginning, node.died), return_when=asyncio.FIRST_COMPLETED)
            if node.is_alive and (error := beginning.exception()) is not None:
                if not isinstance(error, Unavailable | OutcomeUnknown):
                    site.trace.violation(f"{node.name} did not start: {error!r}")
                node.kill()
            await asyncio.wait([node.died])
            role.gone()
            await asyncio.sleep(site.rand.uniform(*RESTART_S))


class BrokerRole:
    """A broker in a process of its own: a Redis that loses everything when it dies."""

    name = "broker"

    def __init__(self, site: Site, on_new: Callable[[WatchedBroker], None]) -> None:
        self._site = site
        self._on_new = on_new

    async def begin(self, node: Node) -> None:
        watched = WatchedBroker(MemoryBroker(), self._site.watch, node)
        self._on_new(watched)
        self._site.address.server = BrokerServer(node, watched)

    def gone(self) -> None:
        self._site.address.server = None


class GatewayRole:
    """The gateway's services; embedded with the broker and the loops beside the ledger."""

    name = "gateway"

    def __init__(self, site: Site, on_new: Callable[[WatchedBroker], None] | None) -> None:
        """on_new: embedded, told of each new broker."""
        self._site = site
        self._on_new = on_new
        self._served = {
            name: ServedModel(
                model=describe(name, SimEngine, engine_reference="sim"),
                engine=SimEngine({}, site.folder),
                timeout_s=model.timeout_s,
                max_attempts=model.max_attempts,
                max_replicas=model.max_replicas,
                max_queued=model.max_queued,
            )
            for name, model in site.models.items()
        }

    async def begin(self, node: Node) -> None:
        site, clock, ends = self._site, node.host, HeardEnds()
        ledger = site.ledger_link(node)
        if self._on_new is None:
            broker = site.broker_link(node)
        else:
            watched = WatchedBroker(MemoryBroker(), site.watch, node)
            broker = cast("Broker", watched)
            await site.sweeper(broker, ledger, clock).sweep(settle_s=-1.0)
            await start_record_keeping(site, node, broker, ends)
            self._on_new(watched)
            site.address.server = BrokerServer(node, watched)
        services = GatewayServices(
            ledger=ledger,
            history=site.history_link(node),
            webhooks=site.webhooks_link(node),
            keyring=Keyring(None, clock),  # simulated clients come past HTTP
            batches=site.ledger.batches,  # nothing in the simulation comes in batches
            openai=site.ledger.openai,  # nor from there
            orders=site.ledger.orders,  # nobody gives any
            metering=Metering(None, Quotas(), clock),
            broker=broker,
            blobs=cast("Blobs", site.blobs.link(node, site.network)),
            inspector=Inspector(),  # no model takes files in
            clock=clock,
            models=self._served,
            ends=ends,
        )
        outlook = Outlook(services)
        submission = Submission(services, Admission(services.units, outlook), outlook)
        site.front.gateway = Gateway(node, services, submission, Live(services, outlook), outlook)

    def gone(self) -> None:
        self._site.front.gateway = None
        if self._on_new is not None:
            self._site.address.server = None


class ControllerRole:
    """The scaler with its fleet; in a cluster with the loops that keep the record."""

    name = "controller"

    def __init__(
        self,
        site: Site,
        *,
        keeps_record: bool,
        policies: Mapping[ModelName, Policy] | None = None,
        pools: Mapping[ModelName, Pool] | None = None,
    ) -> None:
        """policies: by backlog, as drawn for the model, where there are none; pools: with the usual objective."""
        self._site = site
        self._keeps_record = keeps_record
        self._policies = policies
        self._pools = pools or {name: Pool(models=(name,)) for name in site.models}
        self.fleets: list[SimFleet] = []

    async def begin(self, node: Node) -> None:
        site = self._site
        broker = site.broker_link(node)

        async def on_gone(model: ModelName, worker: WorkerId) -> None:
            try:
                await broker.leave(model, worker, node.host.now_s())
            except (Unavailable, OutcomeUnknown):
                site.trace.add(f"could not say that {worker} is gone")

        fleet = SimFleet(node, lambda model, worker: start_worker(site, model, worker), on_gone, site.trace)
        self.fleets.append(fleet)
        if self._keeps_record:
            await start_record_keeping(site, node, broker)
        policies = self._policies or {
            name: bound(
                BacklogSettings(
                    min_replicas=model.min_replicas,
                    max_replicas=model.max_replicas,
                    jobs_per_replica=model.slots,
                    idle_s=30.0,
                )
            )
            for name, model in site.models.items()
        }
        history = site.history_link(node)
        if self._policies:
            await Costs(history, list(site.models), node.host).start()
        signals = Signals(broker, fleet, history, node.host, pools=self._pools)
        await Scaler(signals, fleet, history, policies, node.host).start()

    def gone(self) -> None:
        self.fleets[-1].orphan()

    def processes(self) -> list[WorkerProcess]:
        """Workers of this controller and of those before it."""
        return [process for fleet in self.fleets for process in fleet.processes if process.node.is_alive]


async def start_record_keeping(site: Site, node: Node, broker: Broker, ends: HeardEnds | None = None) -> None:
    """Recorder, conductor, reaper and sweep. ends: told by the recorder."""
    models, ledger = list(site.models), site.ledger_link(node)
    blobs = cast("Blobs", site.blobs.link(node, site.network))
    conductor = Conductor(broker, ledger, node.host)
    for service in (
        Recorder(broker, ledger, models, node.host, blobs=blobs, on_steps=conductor.nudge, on_ends=ends and ends.tell),
        conductor,
        Reaper(broker, models, node.host),
        site.sweeper(broker, ledger, node.host),
    ):
        await service.start()


def start_worker(site: Site, name: ModelName, worker: WorkerId) -> WorkerProcess:
    """A worker's process, with simulated engines under the real supervisor."""
    model = site.models[name]
    short = site.node(name, site.rand.choice(site.worker_hosts))  # ids of workers name the machine: not in a trace
    node = Node(f"{short.name}-{worker[-6:]}", short.host, site.seed)

    def start_child(_: str, on_message: Any) -> Coroutine[Any, Any, SimChild]:
        async def start() -> SimChild:
            await asyncio.sleep(node.rand.uniform(0.02, 0.1))
            child = SimChild(node, model.machine, site.watch.ran, on_message)
            site.children = [one for one in site.children if one.is_alive] + [child]
            return child

        return start()

    settings = WorkerSettings(
        model=name,
        engine_reference="sim",
        weights_folder=site.folder,
        scratch_folder=site.folder / "scratch",
        slots=model.slots,
        batch=model.batch,
        timeout_s=model.timeout_s,
        grace_s=60.0,
    )

    def build() -> Worker:
        return Worker(
            settings,
            worker_id=WorkerId(node.name),
            broker=site.broker_link(node),
            blobs=cast("Blobs", site.blobs.link(node, site.network)),
            clock=node.host,
            start_child=start_child,
        )

    return WorkerProcess(node, name, node.enter(build), site.trace)

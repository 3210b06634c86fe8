"""The ways between processes: to the broker, the ledger and the blobs, with whatever weather there is.

A link stands where `RemoteBroker`, `RedisBroker` or a database's connection would: it raises `Unavailable` where a call
did not happen and `OutcomeUnknown` where it may have, and it may deliver a call late or twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from springtide.blobs.protocol import Written
from springtide.domain.errors import NotFound, OutcomeUnknown, Unavailable
from springtide.domain.ids import BlobId
from springtide.sim.nodes import Node
from springtide.sim.trace import Trace
from springtide.sim.watch import Watch
from springtide.sim.weather import CALM, Fate, Weather

PATIENCE_S = 10.0  # a caller gives up on a call that takes longer
LATE_S = (0.5, 20.0)  # when a call arrives that was given up: well within a tombstone's life
WAITING = frozenset({"wake", "read_events", "read_outcomes"})  # verbs with `wait_s`


class Network:
    """The weather, and who is cut off."""

    def __init__(self, trace: Trace, world: Node) -> None:
        self.trace = trace
        self.rand = world.rand
        self._world = world
        self.weather: Weather = CALM
        self.ledger_is_down = False
        self.blobs_are_down = False
        self.cut_off: dict[str, None] = {}  # names of processes

    def later(self, deliver: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Have a call happen with nobody waiting for its answer."""
        delay_s = self.rand.uniform(*LATE_S)

        async def after_a_while() -> None:
            await asyncio.sleep(delay_s)
            try:
                await deliver()
            except (Unavailable, OutcomeUnknown) as error:
                self.trace.add(f"late call failed: {error}")

        self._world.spawn(after_a_while())


class BrokerServer:
    """A broker in its process, or the want of one."""

    def __init__(self, node: Node, watched: Any) -> None:
        self.node = node
        self._watched = watched

    async def execute(self, verb: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The verb's answer. Raises OutcomeUnknown where the process dies meanwhile."""
        if not self.node.is_alive:
            raise Unavailable("nobody answers at the broker's address")
        work = getattr(self._watched, verb)(*args, **options)
        if verb not in WAITING or not options.get("wait_s"):
            return await work  # never suspends
        task = self.node.spawn(work)
        try:
            await asyncio.wait((task, self.node.died), return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
        if not task.done() or task.cancelled():
            raise OutcomeUnknown("the broker went away")
        return task.result()


class Address:
    """Where a broker is found; it moves when the process is started anew."""

    def __init__(self) -> None:
        self.server: BrokerServer | None = None


class BrokerLink:
    """A `Broker` as another process sees it."""

    def __init__(self, node: Node, address: Address, network: Network) -> None:
        self._node = node
        self._address = address
        self._network = network

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(self._call, verb)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        node, network = self._node, self._network
        await node.pass_gate()
        node.called()
        rand, weather = network.rand, network.weather
        fate = Fate.REFUSED if node.name in network.cut_off else weather.fate(rand)
        await asyncio.sleep(weather.delay_s(rand))
        await node.pass_gate()
        server = self._address.server
        if fate is Fate.REFUSED or server is None:
            network.trace.add(f"{verb} refused")
            raise Unavailable("the broker cannot be reached")
        if fate is Fate.LATE and verb not in WAITING:
            network.trace.add(f"{verb} given up, will arrive late")
            network.later(lambda: server.execute(verb, args, options))
            await asyncio.sleep(PATIENCE_S)
            await node.pass_gate()
            raise OutcomeUnknown("no answer in time")
        answer = await server.execute(verb, args, options)
        if fate is Fate.TWICE and verb not in WAITING:
            network.later(lambda: server.execute(verb, args, options))
        await asyncio.sleep(weather.delay_s(rand))
        await node.pass_gate()
        if fate is Fate.LOST_REPLY:
            network.trace.add(f"{verb} happened, its reply is lost")
            raise OutcomeUnknown("the reply was lost")
        return answer


class LedgerLink:
    """A `Ledger` as one process sees it. What has reached the database happens, whether the caller lives or not."""

    def __init__(self, node: Node, database: Node, ledger: Any, *, network: Network, watch: Watch) -> None:
        self._node = node
        self._database = database
        self._ledger = ledger
        self._network = network
        self._watch = watch

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        return partial(self._call, verb)

    async def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        node, network = self._node, self._network
        await node.pass_gate()
        node.called()
        rand, weather = network.rand, network.weather
        fate = Fate.REFUSED if network.ledger_is_down else weather.fate(rand)
        await asyncio.sleep(weather.delay_s(rand))
        await node.pass_gate()
        if fate is Fate.REFUSED:
            raise Unavailable("the database cannot be reached")
        answer = await asyncio.shield(self._database.spawn(self._happen(verb, args, options)))
        await asyncio.sleep(weather.delay_s(rand))
        await node.pass_gate()
        if fate in (Fate.LOST_REPLY, Fate.LATE):
            raise Unavailable("the connection to the database broke")
        return answer

    async def _happen(self, verb: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        answer = await getattr(self._ledger, verb)(*args, **options)
        self._watch.ledger(verb, args, answer)
        return answer


class SimBlobs:
    """A blob store that keeps what a file was called in place of its bytes."""

    def __init__(self) -> None:
        self.stored: dict[BlobId, str] = {}

    def link(self, node: Node, network: Network) -> BlobsLink:
        return BlobsLink(self, node, network)


class BlobsLink(msgspec.Struct):
    """The part of `Blobs` that a worker uses."""

    blobs: SimBlobs
    node: Node
    network: Network

    async def put_file(self, blob: BlobId, path: Path) -> Written:
        await self._travel()
        self.blobs.stored[blob] = path.name
        await self._travel()
        return Written(bytes=len(path.name), sha256="0" * 64)

    async def fetch(self, blob: BlobId, folder: Path, *, expected: Written | None = None) -> Path:
        await self._travel()
        if blob not in self.blobs.stored:
            raise NotFound(f"there is no blob {blob}")
        return folder / self.blobs.stored[blob]

    async def delete(self, blob: BlobId) -> None:
        await self._travel()
        self.blobs.stored.pop(blob, None)

    async def _travel(self) -> None:
        await self.node.pass_gate()
        self.node.called()
        network = self.network
        fate = network.weather.fate(network.rand)
        await asyncio.sleep(network.weather.delay_s(network.rand))
        await self.node.pass_gate()
        if network.blobs_are_down or fate is Fate.REFUSED:
            raise Unavailable("the blob store cannot be reached")


def shown(answer: Any) -> str:
    """An answer in a line of the trace."""
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes) and len(answer) > 8:
        return f"{len(answer)} items"
    return str(answer)

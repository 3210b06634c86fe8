"""What goes wrong, and when: drawn from the seed, one thing after another, sometimes two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from springtide.sim.links import Network
from springtide.sim.nodes import Host, Node
from springtide.sim.trace import Trace
from springtide.sim.weather import CALM, DRIZZLE, STORM

MEAN_GAP_S = 25.0
DOOM_CALLS = 40  # a doomed process dies at one of its next calls …
DOOM_ROUNDS = 12  # … or so many rounds of the loop after it


class Victims(Protocol):
    """Whom a fault may befall."""

    network: Network
    trace: Trace

    def workers(self) -> list[Node]: ...

    def servers(self) -> list[Node]:
        """Gateway, controller, broker: whatever is a process of its own here."""
        ...

    def hosts(self) -> list[Host]: ...

    def kill_child(self) -> None:
        """The engine's process of some worker dies."""
        ...


class Faults:
    """`run` until cancelled, then `heal`."""

    def __init__(self, world: Victims, node: Node, *, clock_steps_s: tuple[float, ...]) -> None:
        self._world = world
        self._network = world.network
        self._rand = node.rand
        self._node = node
        self._clock_steps_s = clock_steps_s

    async def run(self) -> None:
        kinds: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self._kill_worker),
            (4, self._freeze_worker),
            (3, self._kill_server),
            (3, self._storm),
            (3, self._cut_off),
            (2, self._ledger_outage),
            (1, self._blob_outage),
            (2, self._kill_child),
            (2, self._step_clock),
        ]
        self._network.weather = DRIZZLE
        while True:
            await asyncio.sleep(self._rand.expovariate(1 / MEAN_GAP_S))
            [kind] = self._rand.choices([one for _, one in kinds], [weight for weight, _ in kinds])
            self._node.spawn(self._befall(kind))

    async def _befall(self, kind: Callable[[], Awaitable[None]]) -> None:
        self._world.trace.add(f"FAULT {getattr(kind, '__name__', '').strip('_')}")
        await kind()

    # --- processes ------------------------------------------------------------------------------------------------

    async def _kill_worker(self) -> None:
        self._doom(self._world.workers())

    async def _kill_server(self) -> None:
        self._doom(self._world.servers())

    def _doom(self, nodes: list[Node]) -> None:
        """Kill one at a random await: between two of its calls, in the middle of one, or just after it."""
        if not nodes:
            return
        node = self._rand.choice(nodes)
        calls, rounds = self._rand.randrange(DOOM_CALLS), self._rand.randrange(DOOM_ROUNDS)
        loop = asyncio.get_running_loop()

        async def strike() -> None:
            for _ in range(rounds):
                await asyncio.sleep(0)
            self._world.trace.add(f"KILL {node.name}")
            node.kill()

        def count_down() -> None:
            nonlocal calls
            calls -= 1
            if calls == 0:
                node.on_call = None
                self._node.spawn(strike())

        node.on_call = count_down
        loop.call_later(60.0, lambda: node.on_call and self._node.spawn(strike()))  # one that makes no calls dies too

    async def _freeze_worker(self) -> None:
        if not (nodes := self._world.workers()):
            return
        node = self._rand.choice(nodes)
        self._world.trace.add(f"FREEZE {node.name}")
        node.freeze()
        await asyncio.sleep(self._rand.uniform(1.0, 45.0))
        self._world.trace.add(f"THAW {node.name}")
        node.thaw()

    async def _kill_child(self) -> None:
        self._world.kill_child()

    # --- what lies between ----------------------------------------------------------------------------------------

    async def _storm(self) -> None:
        self._network.weather = STORM
        await asyncio.sleep(self._rand.uniform(3.0, 30.0))
        self._network.weather = DRIZZLE

    async def _cut_off(self) -> None:
        if not (nodes := [*self._world.workers(), *self._world.servers()]):
            return
        name = self._rand.choice(nodes).name
        self._world.trace.add(f"CUT OFF {name}")
        self._network.cut_off[name] = None
        await asyncio.sleep(self._rand.uniform(2.0, 40.0))
        self._network.cut_off.pop(name, None)

    async def _ledger_outage(self) -> None:
        self._network.ledger_is_down = True
        await asyncio.sleep(self._rand.uniform(0.5, 20.0))
        self._network.ledger_is_down = False

    async def _blob_outage(self) -> None:
        self._network.blobs_are_down = True
        await asyncio.sleep(self._rand.uniform(0.5, 40.0))
        self._network.blobs_are_down = False

    async def _step_clock(self) -> None:
        host = self._rand.choice(self._world.hosts())
        step_s = self._rand.choice(self._clock_steps_s)
        host.skew_s += step_s
        self._world.trace.add(f"CLOCK of {host.name} steps {step_s:+g} s")


def heal(network: Network, nodes: list[Node]) -> None:
    """Nothing is wrong any more."""
    network.weather = CALM
    network.ledger_is_down = network.blobs_are_down = False
    network.cut_off.clear()
    for node in nodes:
        node.on_call = None
        node.thaw()

"""The controller's fleet in a cluster: one of several controllers leads and scales, all of them answer KEDA.

Everything that only a cluster needs is imported here, where it is needed: a laptop loads none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from springtide.cli import build, scaled
from springtide.domain.errors import ConfigError, OutcomeUnknown, Unavailable
from springtide.domain.ids import ModelName, WorkerId
from springtide.fleet import labels
from springtide.runtime.chance import new_hex
from springtide.runtime.loops import Loop

if TYPE_CHECKING:
    from springtide.broker.protocol import Broker
    from springtide.config import Config
    from springtide.controller.scaler import Scaler
    from springtide.fleet.kubernetes_election import Election
    from springtide.fleet.protocol import Fleet
    from springtide.fleet.wishes import Wishes
    from springtide.ledger.history import FleetHistory
    from springtide.runtime.clock import SystemClock

LISTEN_EVERY_S = 0.4  # who stands by learns from the record what the leader wishes: a wake takes less than a second


@contextlib.asynccontextmanager
async def cluster_scaling(
    config: Config,
    broker: Broker,
    history: FleetHistory,
    clock: SystemClock,
    new_scaler: Callable[[Fleet], Scaler],
) -> AsyncGenerator[None]:
    """The fleet of pods, scaled while this controller leads. Leaving hands leadership over; pods stay."""
    from springtide.fleet.kubernetes import KubernetesFleet
    from springtide.fleet.kubernetes_api import LightkubeApi
    from springtide.fleet.kubernetes_election import Election

    if build.is_embedded(config):
        raise ConfigError("fleet.kind = 'kubernetes': pods cannot reach broker.url = memory://; name a Redis")
    given, pools = config.kubernetes, build.pools(config)
    api = LightkubeApi(manager="springtide", namespace=given.namespace)
    me = f"{os.environ.get('POD_NAME') or socket.gethostname()}-{new_hex()[-6:]}"
    election = Election(api, clock, lease=labels.object_name(given.name, labels.CONTROLLER), me=me)

    async def on_gone(name: ModelName, worker: WorkerId) -> None:
        for model in pools.get(name, (name,)):
            await broker.leave(model, worker, clock.now_s())

    fleet = KubernetesFleet(
        api,
        clock,
        scaled.scaled(config),
        instance=given.name,
        may_act=lambda: election.leads,
        scales=given.scaling == "springtide",
        on_gone=on_gone,
    )
    async with contextlib.AsyncExitStack() as stack:
        await api.start()
        stack.push_async_callback(api.stop)
        await fleet.start()
        stack.push_async_callback(fleet.stop, 0.0)
        if given.scaling == "keda":
            await stack.enter_async_context(_answering_keda(config, fleet.wishes, history, election, clock))
        await election.start()
        stack.push_async_callback(election.stop)
        leading = asyncio.create_task(_lead(election, lambda: new_scaler(fleet)), name="lead")
        try:
            yield
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)


async def _lead(election: Election, new_scaler: Callable[[], Scaler]) -> None:
    """Scale whenever this controller leads; each time anew, from what is on record by then."""
    while True:
        await election.won()
        scaler = new_scaler()
        await scaler.start()
        try:
            await election.lost()
        finally:
            await scaler.stop()


@contextlib.asynccontextmanager
async def _answering_keda(
    config: Config, wishes: Wishes, history: FleetHistory, election: Election, clock: SystemClock
) -> AsyncGenerator[None]:
    from springtide.fleet.keda import ExternalScaler

    async def listen() -> None:
        """The leader's wishes come from its decisions; before the first one, and in who stands by, from the record."""
        for model in scaled.scaled(config):
            if election.leads and wishes.of(model) is not None:
                continue
            try:
                newest = await history.scaled(model, before_s=clock.now_s() + 1.0, limit=1)
            except (Unavailable, OutcomeUnknown):
                return  # the last word holds
            if newest:
                wishes.tell(model, newest[0].decision.replicas)

    listening = Loop("wishes on record", listen, every_s=LISTEN_EVERY_S, clock=clock)
    scaler = ExternalScaler(wishes, config.kubernetes.keda.listen)
    await scaler.start()
    await listening.start()
    try:
        yield
    finally:
        await listening.stop()
        await scaler.stop()

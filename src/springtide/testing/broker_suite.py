"""The contract of `springtide.broker.protocol.Broker` as tests, for our own brokers and anybody else's.

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        async def broker(self) -> AsyncIterator[Broker]: ...     # started and empty

        @pytest.fixture
        async def rebuild(self, broker) -> Rebuild: ...          # see broker_cases.Rebuild

Time is an argument in every verb, so nothing here waits for leases to expire. It refuses to look inside a broker: only
the protocol's verbs are used. Models used: `broker_cases.MODELS`.
"""

from __future__ import annotations

from springtide.testing.broker_suite_cancel import CancelContract
from springtide.testing.broker_suite_checkpoints import CheckpointContract
from springtide.testing.broker_suite_discipline import DisciplineContract
from springtide.testing.broker_suite_live import LiveContract
from springtide.testing.broker_suite_orders import OrdersContract
from springtide.testing.broker_suite_queue import QueueContract
from springtide.testing.broker_suite_random import RandomContract
from springtide.testing.broker_suite_reap import ReapContract
from springtide.testing.broker_suite_reports import ReportsContract
from springtide.testing.broker_suite_withdraw import WithdrawContract

__all__ = ["BrokerContract"]


class BrokerContract(
    QueueContract,
    ReportsContract,
    CancelContract,
    ReapContract,
    LiveContract,
    CheckpointContract,
    RandomContract,
    DisciplineContract,
    OrdersContract,
    WithdrawContract,
):
    """Every promise of the protocol. Subclass it with the fixtures `broker` and `rebuild`."""

"""Ledger suite, part nine: operators' orders. A ledger under test has them as its attribute `orders`."""

from __future__ import annotations

from typing import cast

import msgspec

from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.orders import Drain, OrderKind, Pause, Pin
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_cases import MATTING, NOW_S, Reopen


class OrdersContract:
    """Orders given and taken back."""

    async def test_orders_outlive_a_restart(self, ledger: SqlLedger, reopen: Reopen) -> None:
        pause = Pause(model=MATTING, at_s=NOW_S, by="local", note="猫 in the machine")
        pin = Pin(model=MATTING, replicas=0, at_s=NOW_S, by="ab12cd34", until_s=NOW_S + 1.5)
        drain = Drain(worker=WorkerId("w-1"), model=MATTING, at_s=NOW_S, by="local")
        for order in (pause, pin, drain):
            await ledger.orders.put_order(order)
        again = cast("SqlLedger", await reopen())
        assert sorted(map(repr, await again.orders.all_orders())) == sorted(map(repr, (pause, pin, drain)))

    async def test_an_order_takes_the_place_of_the_one_before(self, ledger: SqlLedger) -> None:
        first = Pin(model=MATTING, replicas=2, at_s=NOW_S, by="local")
        other = msgspec.structs.replace(first, model=ModelName("speech"))
        later = msgspec.structs.replace(first, replicas=3, at_s=NOW_S + 1)
        for order in (first, other, later):
            await ledger.orders.put_order(order)
        assert sorted(one.model for one in await ledger.orders.all_orders()) == sorted([MATTING, "speech"])
        assert later in await ledger.orders.all_orders()

    async def test_only_the_order_that_is_named_is_taken_back(self, ledger: SqlLedger) -> None:
        pause = Pause(model=MATTING, at_s=NOW_S, by="local")
        await ledger.orders.put_order(pause)
        await ledger.orders.put_order(Pin(model=MATTING, replicas=2, at_s=NOW_S, by="local"))
        for _ in range(2):
            await ledger.orders.drop_order(OrderKind.PIN, MATTING)
            assert await ledger.orders.all_orders() == [pause]

"""Operators' orders on the ledger's own database. `ledger.orders` says what it promises."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from springtide.domain.orders import Drain, Order, OrderKind
from springtide.ledger.rows import Row
from springtide.ledger.sql_history import Connected, put_rows
from springtide.ledger.tables import orders

_ALL = select(orders.c.body)
_DROP = delete(orders).where(orders.c.kind == bindparam("of_kind"), orders.c.name == bindparam("on"))

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order)


class SqlOrders:
    """`OrderBook` beside a ledger; it lives as long as that does."""

    def __init__(self, ledger: Connected) -> None:
        self._ledger = ledger

    async def put_order(self, order: Order) -> None:
        await self._ledger.write(partial(_put, order=order))

    async def drop_order(self, kind: OrderKind, name: str) -> None:
        await self._ledger.write(partial(_drop, kind=kind, name=name))

    async def all_orders(self) -> list[Order]:
        return [_decode.decode(row[0]) for row in await self._ledger.read(every_order)]


def every_order(connection: Connection) -> Sequence[Row]:
    return connection.execute(_ALL).all()


def _put(connection: Connection, order: Order) -> None:
    kind = OrderKind(order.__struct_config__.tag)
    name = order.worker if isinstance(order, Drain) else order.model
    row = {"kind": kind.value, "name": name, "at_s": order.at_s, "body": _encode(order).decode()}
    put_rows(connection, orders, [row])


def _drop(connection: Connection, kind: OrderKind, name: str) -> None:
    connection.execute(_DROP, {"of_kind": kind.value, "on": name})

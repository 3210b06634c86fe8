"""What operators have ordered by hand, on record.

Promises: an order that was put is on disk, and in force for every process within its next look (half a second). Raises
what `ledger.protocol.Ledger` raises.
"""

from __future__ import annotations

from typing import Protocol

from springtide.domain.orders import Order, OrderKind


class OrderBook(Protocol):
    """Orders in force, and those that have run out and nobody has taken off yet."""

    async def put_order(self, order: Order) -> None:
        """Write it down, in place of one of its kind on the same thing."""
        ...

    async def drop_order(self, kind: OrderKind, name: str) -> None:
        """Take one off; nothing where there is none. name: of the model, the pool or the worker."""
        ...

    async def all_orders(self) -> list[Order]: ...

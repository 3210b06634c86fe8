"""Whose turn it is: the arithmetic of the queue's order, the same for every broker.

Three rules, one inside the other (docs/queue-discipline.md tells them with their bounds):

1. Priority classes are strict, but two of every TURNS leases of a model are first offered to a lower class.
2. Within a class tenants share by weight: start-time fair queueing. Each tenant has a tag, the virtual time at which
   its next job may start; the lowest tag is served and moves on by cost / weight. A tenant that comes back enters at
   the present virtual time: it has saved up nothing.
3. Within a tenant the lowest `order_key` goes first: acceptance, plus a delay that grows with the predicted run up to
   MOST_DELAY_S. The key never changes, so nothing is sorted again, and whoever waits MOST_DELAY_S is overtaken no more.
"""

from __future__ import annotations

from springtide.domain.job import Priority

TURNS = 16  # of so many leases one is offered first to batch and one to standard: an eighth is kept from starvation
MOST_DELAY_S = 12.0  # for the longest jobs: well within what people wait for, so the order makes nobody late by itself
HALF_DELAY_AT_S = 60.0  # a job predicted at a minute lets pass what comes within half of that and is much shorter
LEAST_COST_S = 0.001  # no job is free, or a tenant of many would take every turn
SPARE_LOOKS = 16  # tenants whose next job is too young that reading ahead looks past

_I, _S, _B = Priority.INTERACTIVE, Priority.STANDARD, Priority.BATCH


def class_order(turn: int) -> tuple[Priority, Priority, Priority]:
    """The classes in the order in which the lease after `turn` leases is offered to them."""
    match (turn + 1) % TURNS:
        case 0:
            return _B, _I, _S
        case 8:  # TURNS / 2
            return _S, _I, _B
        case _:
            return _I, _S, _B


def order_key(enqueued_at_s: float, predicted_s: float) -> float:
    """A job's place among the waiting jobs of its tenant and class: lowest first."""
    return enqueued_at_s + MOST_DELAY_S * predicted_s / (predicted_s + HALF_DELAY_AT_S)


def start_tag(virtual_s: float, last_tag_s: float) -> float:
    """The tag of a tenant that begins to wait (again)."""
    return max(virtual_s, last_tag_s)


def next_tag(tag_s: float, predicted_s: float, weight: float) -> float:
    """The tag after a job of this prediction has been leased."""
    return tag_s + max(predicted_s, LEAST_COST_S) / weight


def jobs_ahead(rank: int, *, weight: float, others_weight: float, others: int) -> int:
    """About how many jobs of a class are leased before the one with `rank` jobs of its own tenant before it.

    others_weight, others: weights of the other tenants that wait in the class, and their jobs. Exact for a tenant that
    is alone; else the mean for jobs of equal cost: with each own job, and for half of this one, the others get theirs.
    """
    return rank + min(others, int((rank + 0.5) * others_weight / weight))

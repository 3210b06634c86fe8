"""Broker suite, part five: classes, fair share, order within a tenant, and limits on what runs at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from springtide.broker.protocol import Broker
from springtide.domain.fleet import TenantLoad
from springtide.domain.ids import TenantId
from springtide.domain.job import Priority
from springtide.domain.lease import LEASE_TTL_S, Ticket
from springtide.domain.tenant import Discipline, Tenant
from springtide.policy.fairness import MOST_DELAY_S, TURNS
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    OTHER,
    SOON_S,
    T0,
    done,
    failure,
    held,
    job,
    lease_names,
    leased,
    look,
    ref,
    ticket,
)
from springtide.testing.broker_suite_live import let_waits_begin

ACME, BETA = TenantId("acme"), TenantId("beta")


def limits(max_running: int | None = None, /, **tenants: int) -> Discipline:
    """At most so many of the model, and of each tenant."""
    named = tuple(Tenant(id=TenantId(name), max_running=most) for name, most in tenants.items())
    return Discipline(max_running=max_running, tenants=named)


def many(name: str, count: int, **changes: Any) -> list[Ticket]:
    """Jobs of one tenant, each accepted a moment after the other."""
    fields: dict[str, Any] = {"tenant": TenantId(name)} | changes
    return [ticket(f"{name}{n}", **{"enqueued_at_s": T0 + n / 1000, **fields}) for n in range(count)]


async def tenants_served(broker: Broker, count: int) -> list[TenantId]:
    """Lease one at a time; the tenants in the order served."""
    return [lease.tenant for _ in range(count) for lease in await broker.lease(MODEL, ANN, 1, T0)]


class ClassesContract:
    """Priority."""

    @pytest.mark.parametrize("at_once", [1, 7])
    async def test_no_class_waits_longer_than_sixteen_leases(self, broker: Broker, at_once: int) -> None:
        await broker.enqueue(many("u", 100, priority=Priority.INTERACTIVE), T0)
        await broker.enqueue(many("s", 10), T0)
        await broker.enqueue(many("b", 10, priority=Priority.BATCH), T0)
        served: list[str] = []
        while len(served) < 100:
            served += [lease.tenant for lease in await broker.lease(MODEL, ANN, at_once, T0)]
        for start in range(100 - TURNS):
            window = Counter(served[start : start + TURNS])
            assert (window["s"], window["b"], window["u"]) == (1, 1, TURNS - 2)

    async def test_a_turn_that_a_lower_class_does_not_need_goes_to_the_highest(self, broker: Broker) -> None:
        await broker.enqueue(many("u", 40, priority=Priority.INTERACTIVE), T0)
        assert await tenants_served(broker, 40) == ["u"] * 40


class ShareContract:
    """Fair share within a class."""

    async def test_tenants_of_equal_weight_take_turns_however_much_each_has_waiting(self, broker: Broker) -> None:
        await broker.enqueue(many("a", 50), T0)
        await broker.enqueue(many("b", 4), T0 + 1)
        assert await tenants_served(broker, 8) == ["a", "b"] * 4
        assert await tenants_served(broker, 4) == ["a"] * 4

    async def test_one_lease_of_many_jobs_is_shared_like_many_leases(self, broker: Broker) -> None:
        await broker.enqueue(many("a", 50), T0)
        await broker.enqueue(many("b", 50), T0)
        leases = await broker.lease(MODEL, ANN, 10, T0)
        assert [lease.tenant for lease in leases] == ["a", "b"] * 5

    async def test_a_weight_of_three_gets_three_times_as_much(self, broker: Broker) -> None:
        await broker.configure(MODEL, Discipline(tenants=(Tenant(id=ACME, weight=3.0),)))
        await broker.enqueue(many("acme", 60) + many("beta", 60), T0)
        assert Counter(await tenants_served(broker, 40)) == {"acme": 30, "beta": 10}

    async def test_shares_are_of_predicted_time_not_of_jobs(self, broker: Broker) -> None:
        await broker.enqueue(many("long", 20, predicted_s=9.0) + many("short", 60, predicted_s=3.0), T0)
        assert Counter(await tenants_served(broker, 40)) == {"long": 10, "short": 30}

    async def test_a_tenant_that_was_idle_has_saved_up_nothing(self, broker: Broker) -> None:
        await broker.enqueue(many("a", 60), T0)
        await tenants_served(broker, 30)
        await broker.enqueue(many("b", 30), T0)
        assert Counter(await tenants_served(broker, 20)) == {"a": 10, "b": 10}

    async def test_coming_one_job_at_a_time_gives_no_more_than_a_share(self, broker: Broker) -> None:
        await broker.enqueue(many("a", 60, predicted_s=1.0), T0)
        served: list[TenantId] = []
        for n in range(40):
            await broker.enqueue([ticket(f"b{n}", tenant=TenantId("b"), predicted_s=1.0)], T0)
            served += await tenants_served(broker, 1)
        assert Counter(served) == {"a": 20, "b": 20}

    async def test_a_new_weight_holds_for_jobs_that_wait_already(self, broker: Broker) -> None:
        await broker.enqueue(many("acme", 60) + many("beta", 60), T0)
        assert Counter(await tenants_served(broker, 10)) == {"acme": 5, "beta": 5}
        await broker.configure(MODEL, Discipline(tenants=(Tenant(id=ACME, weight=4.0),)))
        assert Counter(await tenants_served(broker, 40)) == {"acme": 32, "beta": 8}

    async def test_models_are_shared_each_by_itself(self, broker: Broker) -> None:
        await broker.configure(OTHER, limits(1, acme=1))
        await broker.enqueue(many("acme", 4), T0)
        assert len(await broker.lease(MODEL, ANN, 9, T0)) == 4


class OrderContract:
    """Within one tenant."""

    async def test_of_jobs_accepted_together_the_shortest_goes_first(self, broker: Broker) -> None:
        times = {"c": 30.0, "a": 1.0, "d": 200.0, "b": 2.5}
        await broker.enqueue([ticket(name, predicted_s=s) for name, s in times.items()], T0)
        assert await lease_names(broker, ANN, 9, T0) == [job(name) for name in "abcd"]

    async def test_a_job_is_not_overtaken_by_one_that_came_much_later(self, broker: Broker) -> None:
        await broker.enqueue([ticket("long", predicted_s=1e6)], T0)
        soon, late = T0 + MOST_DELAY_S - 1, T0 + MOST_DELAY_S + 1
        await broker.enqueue([ticket("late", predicted_s=0.0, enqueued_at_s=late)], late)
        await broker.enqueue([ticket("soon", predicted_s=0.0, enqueued_at_s=soon)], late)
        assert await lease_names(broker, ANN, 9, late) == [job("soon"), job("long"), job("late")]

    async def test_a_job_that_comes_back_gets_its_place_again(self, broker: Broker) -> None:
        await leased(broker, "a", predicted_s=5.0)
        await broker.enqueue([ticket("b", predicted_s=6.0), ticket("0", predicted_s=4.0)], T0)
        await broker.release(MODEL, ANN, [held("a")], T0)
        assert await lease_names(broker, ANN, 9, T0) == [job("0"), job("a"), job("b")]


class LimitsContract:
    """Jobs in progress."""

    async def test_a_tenant_at_its_limit_is_passed_over_and_blocks_nobody(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=2))
        await broker.enqueue(many("acme", 5) + many("beta", 3), T0)
        assert Counter(lease.tenant for lease in await broker.lease(MODEL, ANN, 9, T0)) == {"acme": 2, "beta": 3}
        assert await broker.lease(MODEL, BOB, 9, T0) == []

    async def test_a_limit_counts_all_classes_together(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=2))
        for name, priority in zip("abc", Priority, strict=True):
            await broker.enqueue([ticket(name, tenant=ACME, priority=priority)], T0)
        assert await lease_names(broker, ANN, 9, T0) == [job("a"), job("b")]
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert await lease_names(broker, ANN, 9, T0) == [job("c")]

    async def test_a_model_at_its_limit_gives_no_lease(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(3))
        await broker.enqueue(many("acme", 5), T0)
        assert len(await broker.lease(MODEL, ANN, 2, T0)) == 2
        assert len(await broker.lease(MODEL, BOB, 9, T0)) == 1
        assert await broker.lease(MODEL, BOB, 9, T0) == []
        assert (await broker.wake(MODEL, BOB, for_work=True, wait_s=0.0)).work is False

    @pytest.mark.parametrize("verb", ["complete", "fail", "retry", "release", "cancel", "reap", "leave"])
    @pytest.mark.parametrize("limited", ["tenant", "model"])
    async def test_the_end_of_a_job_lets_the_next_one_start_at_once(
        self, broker: Broker, verb: str, limited: str
    ) -> None:
        await broker.configure(MODEL, limits(acme=1) if limited == "tenant" else limits(1))
        await leased(broker, "a", tenant=ACME)
        await broker.enqueue([ticket("b", tenant=ACME, enqueued_at_s=T0 - 5)], T0)
        assert (await broker.wake(MODEL, BOB, for_work=True, wait_s=0.02)).work is False
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        assert not waiting.done()
        match verb:
            case "complete":
                await broker.complete(MODEL, ANN, [done("a")], T0)
            case "fail":
                await broker.fail(MODEL, ANN, [failure("a")], T0)
            case "retry":
                await broker.fail(MODEL, ANN, [failure("a", retry_after_s=60.0)], T0)
            case "release":
                await broker.release(MODEL, ANN, [held("a")], T0)
            case "cancel":
                await broker.cancel([ref("a")], T0)
                await broker.fail(MODEL, ANN, [failure("a", cancelled=True)], T0)
            case "reap":
                await broker.reap([MODEL], T0 + LEASE_TTL_S + 1)
            case _:
                await broker.leave(MODEL, ANN, T0)
        assert (await waiting).work
        assert await lease_names(broker, BOB, 1, T0 + LEASE_TTL_S + 1) == [job("b")]

    async def test_a_job_of_a_tenant_at_its_limit_wakes_nobody(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=1))
        await leased(broker, "a", tenant=ACME)
        await broker.enqueue([ticket("b", tenant=ACME)], T0)
        assert (await broker.wake(MODEL, BOB, for_work=True, wait_s=0.02)).work is False
        await broker.enqueue([ticket("c")], T0)
        assert (await broker.wake(MODEL, BOB, for_work=True, wait_s=0.0)).work

    @pytest.mark.parametrize("limited", ["tenant", "model"])
    async def test_a_limit_that_is_raised_lets_waiting_jobs_start(self, broker: Broker, limited: str) -> None:
        await broker.configure(MODEL, limits(acme=1) if limited == "tenant" else limits(1))
        await broker.enqueue(many("acme", 3), T0)
        assert len(await broker.lease(MODEL, ANN, 9, T0)) == 1
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        assert not waiting.done()
        await broker.configure(MODEL, limits(acme=2) if limited == "tenant" else limits(2))
        assert (await waiting).work
        assert len(await broker.lease(MODEL, BOB, 9, T0)) == 1

    async def test_a_model_without_any_room_keeps_its_jobs_until_it_has_some(self, broker: Broker) -> None:
        """How a paused model is told."""
        await broker.enqueue(many("acme", 3), T0)
        [_] = await broker.lease(MODEL, ANN, 1, T0)
        await broker.configure(MODEL, limits(0))
        assert await broker.lease(MODEL, BOB, 9, T0) == []
        assert not (await broker.wake(MODEL, BOB, for_work=True, wait_s=0)).work
        assert await broker.complete(MODEL, ANN, [done("acme0")], T0 + 1) == [True]
        assert await broker.lease(MODEL, BOB, 9, T0 + 1) == []
        waiting = asyncio.create_task(broker.wake(MODEL, BOB, for_work=True, wait_s=SOON_S))
        await let_waits_begin(broker)
        await broker.configure(MODEL, limits())
        assert (await waiting).work
        assert len(await broker.lease(MODEL, BOB, 9, T0 + 2)) == 2

    async def test_a_limit_that_is_lowered_waits_for_what_runs(self, broker: Broker) -> None:
        await leased(broker, "a", "b", "c", tenant=ACME)
        await broker.enqueue([ticket("d", tenant=ACME)], T0)
        await broker.configure(MODEL, limits(acme=2))
        for name, may_start in [("a", False), ("b", True)]:
            await broker.complete(MODEL, ANN, [done(name)], T0)
            assert bool(await broker.lease(MODEL, ANN, 1, T0)) is may_start

    async def test_adopted_attempts_count(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=1))
        await broker.enqueue([ticket("a", tenant=ACME, attempt=1, held_by=ANN), ticket("b", tenant=ACME)], T0)
        assert await broker.lease(MODEL, BOB, 9, T0) == []
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert await lease_names(broker, BOB, 9, T0) == [job("b")]

    async def test_a_job_that_is_being_cancelled_still_counts(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=1))
        await leased(broker, "a", tenant=ACME)
        await broker.enqueue([ticket("b", tenant=ACME)], T0)
        await broker.cancel([ref("a")], T0)
        assert await broker.lease(MODEL, BOB, 9, T0) == []

    async def test_a_tenant_at_its_limit_saves_up_no_turns(self, broker: Broker) -> None:
        await broker.configure(MODEL, limits(acme=1))
        await broker.enqueue(many("acme", 20) + many("beta", 60), T0)
        assert Counter(await tenants_served(broker, 21)) == {"acme": 1, "beta": 20}
        await broker.configure(MODEL, Discipline())
        assert Counter(await tenants_served(broker, 20)) == {"acme": 11, "beta": 9}  # it enters a turn ahead, no more


class LoadsContract:
    """What can be seen of it."""

    async def test_a_queue_tells_what_each_tenant_has(self, broker: Broker) -> None:
        await broker.enqueue(many("acme", 3) + many("beta", 1), T0)
        await broker.lease(MODEL, ANN, 2, T0)
        await broker.fail(MODEL, ANN, [failure("acme0", retry_after_s=60.0)], T0)
        [view, empty] = await broker.queues(MODELS, T0)
        acme, beta = (
            TenantLoad(tenant=ACME, queued=3, running=0),
            TenantLoad(tenant=BETA, queued=0, running=1),
        )
        assert sorted(view.tenants, key=lambda load: load.tenant) == [acme, beta]
        assert empty.tenants == ()
        await broker.complete(MODEL, ANN, [done("beta0")], T0)
        await broker.cancel([ref("acme0"), ref("acme1"), ref("acme2")], T0)
        assert (await broker.queues(MODELS, T0))[0].tenants == ()

    async def test_the_jobs_ahead_are_counted_with_the_share_of_others(self, broker: Broker) -> None:
        await broker.configure(MODEL, Discipline(tenants=(Tenant(id=ACME, weight=2.0),)))
        await broker.enqueue(many("acme", 30) + many("beta", 30), T0)
        told = {name: (await look(broker, name)).ahead for name in ("acme0", "acme20", "beta0", "beta10", "beta29")}
        assert told == {"acme0": 0, "acme20": 30, "beta0": 1, "beta10": 31, "beta29": 59}

    async def test_jobs_ahead_agree_with_what_is_leased(self, broker: Broker) -> None:
        names = [f"{tenant}{n}" for n in range(40) for tenant in ("acme", "beta", "crow")]
        await broker.enqueue(many("acme", 40) + many("beta", 40) + many("crow", 40), T0)
        ahead = [view.ahead for view in await broker.peek([ref(name) for name in names], T0) if view is not None]
        order = await lease_names(broker, ANN, 120, T0)
        for name, told in zip(names, ahead, strict=True):
            assert told is not None
            assert abs(told - order.index(job(name))) <= 2


class DisciplineContract(ClassesContract, ShareContract, OrderContract, LimitsContract, LoadsContract):
    """Part five of the suite."""

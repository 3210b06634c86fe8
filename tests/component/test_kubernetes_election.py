"""Two controllers and one Lease: never two who act, and somebody soon after the other is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from springtide.fleet.kubernetes_election import LEASE_S, RENEW_WITHIN_S, Election
from springtide.testing.cluster import Cluster, cluster_world


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster_world(tmp_path) as one:
        yield one


def candidate(cluster: Cluster, name: str) -> Election:
    return Election(cluster.api, cluster.clock, lease="springtide-controller", me=name)


async def test_the_first_leads_and_the_second_stands_by(cluster: Cluster) -> None:
    one, two = candidate(cluster, "one"), candidate(cluster, "two")
    await one.start()
    await cluster.passing(one.won())
    await two.start()
    await cluster.until(lambda: two.holder == "one")
    assert (one.leads, two.leads) == (True, False)
    await two.stop()
    await one.stop()


async def test_who_stops_in_order_hands_over_at_once(cluster: Cluster) -> None:
    one, two = candidate(cluster, "one"), candidate(cluster, "two")
    await one.start()
    await cluster.passing(one.won())
    await two.start()
    await cluster.until(lambda: two.holder == "one")
    await one.stop()
    assert not one.leads
    began_s = cluster.clock.now_s()
    await cluster.passing(two.won())
    assert cluster.clock.now_s() - began_s < LEASE_S
    assert cluster.double.get("Lease", "springtide-controller")["spec"]["leaseTransitions"] == 1
    await two.stop()


async def test_who_is_killed_is_followed_after_the_lease_and_not_before(cluster: Cluster) -> None:
    one, two = candidate(cluster, "one"), candidate(cluster, "two")
    await one.start()
    await cluster.passing(one.won())
    await two.start()
    await cluster.until(lambda: two.holder == "one")
    for loop in one._loops:  # as kill -9: nobody gives it back
        await loop.stop()
    both: list[bool] = []
    began_s = cluster.clock.now_s()

    def has_won() -> bool:
        both.append(one.leads and two.leads)
        return two.leads

    await cluster.until(has_won)
    assert not any(both)
    assert cluster.clock.now_s() - began_s >= RENEW_WITHIN_S
    await two.stop()


async def test_a_leader_that_cannot_renew_stops_before_another_may_begin(cluster: Cluster) -> None:
    one = candidate(cluster, "one")
    await one.start()
    await cluster.passing(one.won())
    await cluster.double.kill()
    began_s = cluster.clock.now_s()
    await cluster.passing(one.lost())
    assert not one.leads
    assert cluster.clock.now_s() - began_s < LEASE_S
    await cluster.double.start()
    await cluster.passing(one.won())
    await one.stop()


async def test_a_clock_that_is_far_off_changes_nothing(cluster: Cluster) -> None:
    """The times in the Lease are the other's: only whether they change counts."""
    spec = {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2001-01-01T00:00:00.000000Z"}
    cluster.double.create({"kind": "Lease", "metadata": {"name": "springtide-controller"}, "spec": spec})
    two = candidate(cluster, "two")
    await two.start()
    await cluster.until(lambda: two.holder == "one")
    assert not two.leads, "an old time alone does not mean that it is over"
    await cluster.passing(two.won())
    await two.stop()


async def test_of_two_at_once_one_wins(cluster: Cluster) -> None:
    """Both have read the same version: the second write is refused."""
    one, two = candidate(cluster, "one"), candidate(cluster, "two")
    await one.start()
    await two.start()
    await cluster.until(lambda: one.leads or two.leads)
    assert one.leads != two.leads
    await one.stop()
    await two.stop()

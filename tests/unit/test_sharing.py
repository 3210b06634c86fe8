"""Models that compete for accelerators: never more than there are, nobody starves, nobody takes turns for nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.policy.elastic.sharing import Claim, ShareMemory, ShareSettings, share

counts = st.integers(0, 6)
claims = st.builds(
    Claim,
    wish=st.integers(0, 20),
    idle=counts,
    busy=counts,
    loading=counts,
    waiting=st.integers(0, 50),
    work_s=st.floats(0, 5000),
    weight=st.floats(0.1, 10),
)


@given(st.dictionaries(st.sampled_from("abcde"), claims, min_size=1), st.integers(0, 30))
@settings(max_examples=400, deadline=None)
def test_never_more_than_there_are_and_never_fewer_than_are_busy(fleet: dict[str, Claim], spare: int) -> None:
    there = sum(claim.idle + claim.busy + claim.loading for claim in fleet.values())
    grants, _ = share(fleet, 0.0, ShareMemory(), ShareSettings(accelerators=there + spare))
    assert sum(grants.values()) <= there + spare
    for name, claim in fleet.items():
        assert grants[name] >= claim.busy + claim.loading
        assert grants[name] <= max(claim.wish, claim.busy + claim.loading)
    launched = sum(max(0, grants[n] - c.idle - c.busy - c.loading) for n, c in fleet.items())
    assert launched <= spare, "what is launched has room before anybody has gone"


def test_all_wishes_come_true_where_there_is_room() -> None:
    fleet = {"a": Claim(wish=3), "b": Claim(wish=2, busy=1)}
    assert share(fleet, 0.0, ShareMemory(), ShareSettings(accelerators=9))[0] == {"a": 3, "b": 2}


def test_the_model_that_starves_gets_the_next_one() -> None:
    fleet = {
        "full": Claim(wish=9, busy=3, waiting=1, work_s=60.0),
        "starving": Claim(wish=4, waiting=20, work_s=900.0),
    }
    grants, _ = share(fleet, 0.0, ShareMemory(), ShareSettings(accelerators=4))
    assert grants == {"full": 3, "starving": 1}


def test_an_idle_replica_is_unloaded_for_the_model_that_starves() -> None:
    fleet = {"idle": Claim(wish=2, idle=2), "starving": Claim(wish=2, waiting=20, work_s=900.0)}
    grants, memory = share(fleet, 0.0, ShareMemory(), ShareSettings(accelerators=2))
    assert grants["idle"] == 0
    assert grants["starving"] == 0, "it loads when the other has gone"
    fleet["idle"] = Claim(wish=2, draining=0)
    assert share(fleet, 5.0, memory, ShareSettings(accelerators=2))[0]["starving"] == 2


def test_what_was_just_given_is_not_taken_back() -> None:
    own = ShareSettings(accelerators=2)
    fleet = {"a": Claim(wish=2, waiting=9, work_s=300.0), "b": Claim(wish=0)}
    grants, memory = share(fleet, 100.0, ShareMemory(), own)
    assert grants == {"a": 2, "b": 0}
    fleet = {"a": Claim(wish=2, idle=2), "b": Claim(wish=2, waiting=9, work_s=400.0)}
    soon, memory = share(fleet, 150.0, memory, own)
    assert soon == {"a": 2, "b": 0}, "a start of 40 s must be of use for 80"
    later, _ = share(fleet, 181.0, memory, own)
    assert later["a"] == 0


def test_weight_counts_between_models_in_equal_need() -> None:
    fleet = {
        "plain": Claim(wish=4, waiting=9, work_s=300.0),
        "weighty": Claim(wish=4, waiting=9, work_s=300.0, weight=3.0),
    }
    grants, _ = share(fleet, 0.0, ShareMemory(), ShareSettings(accelerators=4))
    assert grants["weighty"] > grants["plain"] > 0

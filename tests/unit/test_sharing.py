"""Models that compete for room: never more than there is, nobody starves, nobody takes turns for nothing."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.policy.elastic.sharing import EPSILON, Claim, ShareMemory, ShareSettings, share

counts = st.integers(0, 6)
takes = st.fixed_dictionaries(
    {"accelerators": st.sampled_from([0.0, 0.25, 1.0, 2.0]), "memory_mb": st.integers(0, 4000).map(float)}
)
claims = st.builds(
    Claim,
    wish=st.integers(0, 20),
    least=st.integers(0, 2),
    idle=counts,
    busy=counts,
    loading=counts,
    draining=st.integers(0, 2),
    failing=st.integers(0, 2),
    waiting=st.integers(0, 50),
    work_s=st.floats(0, 5000),
    weight=st.floats(0.1, 10),
    takes=takes,
)
fleets = st.dictionaries(st.sampled_from("abcde"), claims, min_size=1)


def room(accelerators: float, **more: float) -> ShareSettings:
    return ShareSettings(budget={"accelerators": accelerators, **more})


def taken(fleet: dict[str, Claim], grants: dict[str, int], what: str) -> float:
    return sum(claim.takes.get(what, 0.0) * (grants[name] + claim.draining) for name, claim in fleet.items())


@given(fleets, st.integers(0, 30), st.integers(0, 9000))
@settings(max_examples=400, deadline=None)
def test_what_is_there_and_what_is_launched_never_takes_more_than_there_is(
    fleet: dict[str, Claim], spare: int, spare_mb: int
) -> None:
    there = {name: claim.there for name, claim in fleet.items()}
    budget = {"accelerators": taken(fleet, there, "accelerators") + spare, "memory_mb": float(spare_mb)}
    budget["memory_mb"] += taken(fleet, there, "memory_mb")
    grants, memory = share(fleet, 0.0, ShareMemory(), ShareSettings(budget=budget))
    kept = {name: max(there[name], grants[name]) for name in fleet}  # who is asked to go still takes room
    for what, much in budget.items():
        assert taken(fleet, kept, what) <= much + EPSILON * 100, "what is launched has room before anybody has gone"
    for name, claim in fleet.items():
        assert claim.loading <= grants[name] <= max(claim.wish, claim.loading, min(claim.least, claim.there))
    assert msgspec.json.decode(msgspec.json.encode(memory), type=ShareMemory) == memory


@given(fleets, st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_where_there_is_room_for_all_every_wish_comes_true(fleet: dict[str, Claim], spare: int) -> None:
    plenty = sum((claim.there + claim.wish + claim.draining) * 2 for claim in fleet.values()) + spare
    grants, _ = share(fleet, 0.0, ShareMemory(), room(float(plenty)))
    for name, claim in fleet.items():
        assert grants[name] >= claim.wish


def test_the_model_that_starves_gets_the_next_one() -> None:
    fleet = {
        "full": Claim(wish=9, busy=3, waiting=1, work_s=600.0),
        "starving": Claim(wish=4, waiting=20, work_s=700.0),
    }
    grants, _ = share(fleet, 0.0, ShareMemory(), room(4))
    assert grants == {"full": 3, "starving": 1}


def test_an_idle_replica_is_unloaded_for_the_model_that_starves() -> None:
    fleet = {"idle": Claim(wish=2, idle=2), "starving": Claim(wish=2, waiting=20, work_s=900.0)}
    grants, memory = share(fleet, 0.0, ShareMemory(), room(2))
    assert grants["idle"] == 0
    assert grants["starving"] == 0, "it loads when the other has gone"
    fleet["idle"] = Claim(wish=2, draining=0)
    assert share(fleet, 5.0, memory, room(2))[0]["starving"] == 2


def test_what_was_just_given_is_not_taken_back() -> None:
    own = room(2)
    fleet = {"a": Claim(wish=2, waiting=9, work_s=300.0), "b": Claim(wish=0)}
    grants, memory = share(fleet, 100.0, ShareMemory(), own)
    assert grants == {"a": 2, "b": 0}
    fleet = {"a": Claim(wish=2, idle=2), "b": Claim(wish=2, waiting=9, work_s=400.0)}
    soon, memory = share(fleet, 150.0, memory, own)
    assert soon == {"a": 2, "b": 0}, "a start of 40 s must be of use for 80"
    later, _ = share(fleet, 181.0, memory, own)
    assert later["a"] == 0


def test_a_busy_replica_stays_against_a_need_that_is_not_much_greater() -> None:
    busy = Claim(wish=2, busy=1, waiting=5, work_s=300.0)
    other = Claim(wish=2, waiting=5, work_s=400.0)
    assert share({"busy": busy, "other": other}, 1e6, ShareMemory(), room(1))[0] == {"busy": 1, "other": 0}
    dire = msgspec.structs.replace(other, work_s=900.0)
    assert share({"busy": busy, "other": dire}, 1e6, ShareMemory(), room(1))[0] == {"busy": 0, "other": 0}


def test_weight_counts_between_models_in_equal_need() -> None:
    fleet = {
        "plain": Claim(wish=4, waiting=9, work_s=300.0),
        "weighty": Claim(wish=4, waiting=9, work_s=300.0, weight=3.0),
    }
    grants, _ = share(fleet, 0.0, ShareMemory(), room(4))
    assert grants["weighty"] > grants["plain"] > 0


def test_a_model_whose_replicas_only_crash_takes_no_room_from_others() -> None:
    fleet = {
        "crashing": Claim(wish=1, failing=1, waiting=90, work_s=9000.0),
        "sound": Claim(wish=1, waiting=1, work_s=1.0),
    }
    assert share(fleet, 0.0, ShareMemory(), room(1))[0] == {"crashing": 0, "sound": 1}
    assert share(fleet, 0.0, ShareMemory(), room(2))[0] == {"crashing": 1, "sound": 1}


def test_what_was_promised_comes_before_what_is_needed() -> None:
    fleet = {"promised": Claim(wish=1, least=1), "needy": Claim(wish=2, waiting=9, work_s=900.0)}
    assert share(fleet, 0.0, ShareMemory(), room(1))[0] == {"promised": 1, "needy": 0}
    there = {"promised": Claim(wish=1, least=1, idle=1), "needy": Claim(wish=2, waiting=9, work_s=900.0)}
    assert share(there, 9e9, ShareMemory(), room(1))[0] == {"promised": 1, "needy": 0}


def test_a_large_one_is_not_kept_waiting_by_small_ones_that_would_fit() -> None:
    large = Claim(wish=1, waiting=9, work_s=900.0, takes={"accelerators": 2.0})
    small = Claim(wish=3, busy=1, waiting=1, work_s=30.0)
    assert share({"large": large, "small": small}, 0.0, ShareMemory(), room(2))[0] == {"large": 0, "small": 0}
    held = msgspec.structs.replace(small, busy=0, loading=1)
    grants, _ = share({"large": large, "small": held}, 0.0, ShareMemory(), room(2))
    assert grants == {"large": 0, "small": 1}, "what is left is kept for the large one until the other half is free"


class Turns:
    """Two models and one place, in steps of a second: who is loaded, who loads, what they have waiting."""

    def __init__(self, rates: dict[str, float], *, cold_start_s: float = 20.0) -> None:
        self.rates, self.cold_start_s = rates, cold_start_s
        self.work_s = dict.fromkeys(rates, 0.0)
        self.loaded: str | None = None
        self.ready_at_s = 0.0
        self.loads: list[tuple[int, str]] = []
        self.memory = ShareMemory()
        self.last_served_s = dict.fromkeys(rates, 0)
        self.longest_bare_s = 0

    def claim(self, name: str, now_s: int) -> Claim:
        work_s, is_here = self.work_s[name], self.loaded == name
        is_up = is_here and now_s >= self.ready_at_s
        is_busy = is_up and work_s > 0
        return Claim(
            wish=1 if work_s > 0 or is_here else 0,
            idle=int(is_up and not is_busy),
            busy=int(is_busy),
            loading=int(is_here and not is_up),
            waiting=int(work_s),
            work_s=work_s,
            cold_start_s=self.cold_start_s,
        )

    def run(self, seconds: int) -> None:
        for now_s in range(seconds):
            for name, rate in self.rates.items():
                self.work_s[name] += rate
            fleet = {name: self.claim(name, now_s) for name in self.rates}
            grants, self.memory = share(fleet, float(now_s), self.memory, room(1))
            if self.loaded is not None and not grants[self.loaded]:
                self.loaded = None
            for name, replicas in grants.items():
                if replicas and self.loaded is None:
                    self.loaded, self.ready_at_s = name, now_s + self.cold_start_s
                    self.loads.append((now_s, name))
            if self.loaded is not None and now_s >= self.ready_at_s:
                self.work_s[self.loaded] = max(0.0, self.work_s[self.loaded] - 1.0)
                self.last_served_s[self.loaded] = now_s
            for name in self.rates:
                if self.work_s[name] >= 1:
                    self.longest_bare_s = max(self.longest_bare_s, now_s - self.last_served_s[name])


@given(st.floats(0.02, 3.0), st.floats(0.02, 3.0), st.sampled_from([5.0, 20.0, 60.0]))
@settings(max_examples=60, deadline=None)
def test_two_models_and_one_place_neither_thrash_nor_starve(one: float, other: float, cold_start_s: float) -> None:
    world = Turns({"one": one, "other": other}, cold_start_s=cold_start_s)
    world.run(3000)
    apart = [later - sooner for (sooner, _), (later, _) in zip(world.loads, world.loads[1:], strict=False)]
    assert all(gap >= 2 * cold_start_s for gap in apart), "a load is of use before it is undone"
    patience_s = 3 * (30.0 + cold_start_s)
    assert world.longest_bare_s <= patience_s + 3 * cold_start_s + 60.0


@given(st.integers(1, 50), st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_a_model_that_only_expects_jobs_takes_no_place_of_one_that_is_idle(wish: int, weight: float) -> None:
    fleet = {"idle": Claim(wish=1, idle=1), "expecting": Claim(wish=wish, weight=weight)}
    assert share(fleet, 1e6, ShareMemory(), room(1))[0] == {"idle": 1, "expecting": 0}
    fleet["expecting"] = Claim(wish=wish, weight=weight, waiting=1, work_s=1.0)
    assert share(fleet, 1e6, ShareMemory(), room(1))[0]["idle"] == 0, "but one whose job waits does"


def test_models_that_are_idle_do_not_take_turns() -> None:
    world = Turns({"one": 0.0, "other": 0.0})
    world.loaded = "one"
    world.run(1000)
    assert world.loads == []

"""Which models share a worker's memory: never a busy one out, nothing over the budget, nobody waits for ever."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from springtide.domain.ids import ModelName
from springtide.policy.residency import PATIENCE_S, Plan, Resident, arrange

NOW_S = 1000.0


def _model(name: str, memory_mb: float = 100.0, **fields: Any) -> Resident:
    return Resident(model=ModelName(name), memory_mb=memory_mb, **fields)


def _loaded(name: str, memory_mb: float = 100.0, **fields: Any) -> Resident:
    return _model(name, memory_mb, is_loaded=True, **fields)


def _wanted(name: str, memory_mb: float = 100.0, *, since_s: float = NOW_S) -> Resident:
    return _model(name, memory_mb, wanted_since_s=since_s)


def test_what_fits_is_loaded_and_nothing_else_moves() -> None:
    assert arrange([_loaded("a"), _wanted("b"), _model("c")], 200, NOW_S) == Plan(load=(ModelName("b"),))


def test_nothing_to_do_is_nothing_done() -> None:
    assert arrange([_loaded("a"), _loaded("b", is_busy=True), _model("c")], 200, NOW_S) == Plan()


def test_the_model_used_longest_ago_makes_room() -> None:
    residents = [_loaded("a", used_at_s=30), _loaded("b", used_at_s=10), _loaded("c", used_at_s=20), _wanted("d")]
    assert arrange(residents, 300, NOW_S) == Plan(unload=(ModelName("b"),), load=(ModelName("d"),))


def test_a_busy_model_is_not_unloaded_and_idle_ones_not_in_vain() -> None:
    residents = [_loaded("a", is_busy=True, used_at_s=1), _loaded("b", used_at_s=2), _wanted("c", 250)]
    assert arrange(residents, 300, NOW_S) == Plan(again_in_s=PATIENCE_S)


def test_after_its_patience_the_longest_loaded_busy_model_leaves_and_then_makes_room() -> None:
    busy = [_loaded("a", is_busy=True, loaded_at_s=20), _loaded("b", is_busy=True, loaded_at_s=10)]
    wanted = _wanted("c", since_s=NOW_S - PATIENCE_S)
    assert arrange([*busy, wanted], 200, NOW_S) == Plan(leave=(ModelName("b"),))
    leaving = msgspec.structs.replace(busy[1], is_leaving=True)
    assert arrange([busy[0], leaving, wanted], 200, NOW_S) == Plan()  # its jobs are still running
    gone = msgspec.structs.replace(leaving, is_busy=False)
    assert arrange([busy[0], gone, wanted], 200, NOW_S) == Plan(unload=(ModelName("b"),), load=(ModelName("c"),))


def test_a_small_model_that_came_later_does_not_take_the_room_of_the_first_in_the_row() -> None:
    residents = [_loaded("a", 250, is_busy=True), _wanted("large", 300, since_s=1), _wanted("small", 10, since_s=2)]
    assert arrange(residents, 300, 5.0).load == ()


def test_a_model_larger_than_the_budget_runs_alone() -> None:
    residents = [_loaded("a"), _wanted("huge", 1000)]
    assert arrange(residents, 300, NOW_S) == Plan(unload=(ModelName("a"),), load=(ModelName("huge"),))


def test_a_model_that_turned_out_larger_drives_idle_ones_out() -> None:
    residents = [_loaded("a", used_at_s=1), _loaded("b", 290, used_at_s=2, is_busy=True)]
    assert arrange(residents, 300, NOW_S) == Plan(unload=(ModelName("a"),))


@st.composite
def _residents(draw: st.DrawFn) -> list[Resident]:
    count = draw(st.integers(1, 6))
    found: list[Resident] = []
    for n in range(count):
        is_loaded = draw(st.booleans())
        found.append(
            Resident(
                model=ModelName(f"m{n}"),
                is_loaded=is_loaded,
                is_busy=is_loaded and draw(st.booleans()),
                is_leaving=is_loaded and draw(st.booleans()),
                memory_mb=draw(st.integers(0, 400)),
                loaded_at_s=draw(st.integers(0, 900)),
                used_at_s=draw(st.integers(0, 900)),
                wanted_since_s=None if is_loaded else draw(st.none() | st.integers(900, 1000)),
            )
        )
    return found


@given(residents=_residents(), budget_mb=st.integers(64, 800))
def test_whatever_the_state_no_busy_model_goes_and_loading_keeps_to_the_budget(
    residents: list[Resident], budget_mb: int
) -> None:
    plan = arrange(residents, budget_mb, NOW_S)
    by_name = {one.model: one for one in residents}
    assert all(by_name[model].is_loaded and not by_name[model].is_busy for model in plan.unload)
    assert all(by_name[model].is_busy and not by_name[model].is_leaving for model in plan.leave)
    assert all(by_name[model].wanted_since_s is not None for model in plan.load)
    there = {one.model for one in residents if one.is_loaded} - set(plan.unload) | set(plan.load)
    if plan.load:
        assert len(there) == 1 or sum(by_name[model].memory_mb for model in there) <= budget_mb
    row = sorted((one for one in residents if one.wanted_since_s is not None), key=lambda one: one.wanted_since_s or 0)
    assert set(plan.load) == {one.model for one in row[: len(plan.load)]}, "out of turn"


@given(models=st.integers(2, 5), run_s=st.floats(0.5, 60.0), load_s=st.floats(0.5, 20.0))
def test_with_work_for_all_of_them_for_ever_each_runs_within_the_stated_bound(
    models: int, run_s: float, load_s: float
) -> None:
    """Room for one, and every model always has another job: the worst case."""
    names = [ModelName(f"m{n}") for n in range(models)]
    wanted_since_s: dict[ModelName, float | None] = dict.fromkeys(names, 0.0)
    loaded: ModelName | None = None
    loaded_at_s = busy_until_s = now_s = 0.0
    is_leaving = False
    waits: list[float] = []
    for _ in range(8 * models):
        residents = [
            Resident(
                model=name,
                memory_mb=100,
                is_loaded=name == loaded,
                is_busy=name == loaded and now_s < busy_until_s,
                is_leaving=name == loaded and is_leaving,
                loaded_at_s=loaded_at_s,
                wanted_since_s=None if name == loaded else wanted_since_s[name],
            )
            for name in names
        ]
        plan = arrange(residents, 100, now_s)
        if plan.unload:
            assert loaded is not None
            wanted_since_s[loaded] = now_s
            loaded, is_leaving = None, False
        if plan.load:
            [loaded] = plan.load
            since_s = wanted_since_s[loaded]
            assert since_s is not None
            waits.append(now_s + load_s - since_s)
            loaded_at_s = now_s
            busy_until_s = now_s + load_s + run_s
        is_leaving = is_leaving or bool(plan.leave)
        if is_leaving or not plan.again_in_s:
            now_s = max(now_s, busy_until_s)  # its last job ends
        else:
            now_s += plan.again_in_s
            while busy_until_s <= now_s:  # it goes on with the next one
                busy_until_s += run_s
    assert len(waits) >= models
    assert max(waits) <= models * (PATIENCE_S + run_s + load_s)

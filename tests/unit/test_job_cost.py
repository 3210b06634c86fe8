"""The model of run times: useful after a few jobs, unmoved by an outlier, never nonsense."""

from __future__ import annotations

import math
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from springtide.policy.cost import MOST_FEATURES, CostMemory, Prediction, learn, middle_s, predict


def _taught(jobs: int, *, slope: float = 1.0, wrong: float = 1.0, noise: float = 0.1, seed: int = 1) -> CostMemory:
    """Runs of 2 s a megapixel to the power of `slope`; the engine's estimate is `wrong` times too small."""
    chance, memory = Random(seed), CostMemory()
    for _ in range(jobs):
        pixels = chance.uniform(1e6, 2e7)
        estimate_s, run_s = _truth(pixels, slope, wrong)
        run_s *= math.exp(chance.gauss(0, noise))
        memory = learn(memory, {"pixels": pixels}, estimate_s, run_s=run_s)
    return memory


def _truth(pixels: float, slope: float, wrong: float) -> tuple[float, float]:
    return 2.0 * pixels / 1e6, wrong * 2.0 * (pixels / 1e6) ** slope


def _asked(memory: CostMemory, pixels: float, slope: float = 1.0, wrong: float = 1.0) -> tuple[Prediction, float]:
    estimate_s, run_s = _truth(pixels, slope, wrong)
    return predict(memory, {"pixels": pixels}, estimate_s), run_s


def test_before_the_first_run_it_says_what_the_engine_says() -> None:
    said = predict(CostMemory(), {"pixels": 1e6}, 12.0)
    assert (said.median_s, said.jobs) == (12.0, 0)
    assert said.p90_s > 12.0


def test_an_estimate_that_is_five_times_too_small_is_put_right_within_five_jobs() -> None:
    said, run_s = _asked(_taught(5, wrong=5.0), 6e6, wrong=5.0)
    assert 0.8 < said.median_s / run_s < 1.25


def test_growth_that_the_engine_did_not_know_of_is_learnt() -> None:
    memory = _taught(100, slope=1.5, noise=0.05)
    for pixels in (2e6, 8e6, 1.8e7):
        said, run_s = _asked(memory, pixels, slope=1.5)
        assert 0.85 < said.median_s / run_s < 1.18


def test_nine_of_ten_runs_keep_to_the_upper_figure() -> None:
    memory, chance, kept = _taught(40, noise=0.4), Random(7), 0
    for _ in range(400):
        pixels = chance.uniform(1e6, 2e7)
        said, run_s = _asked(memory, pixels)
        run_s *= math.exp(chance.gauss(0, 0.4))
        kept += run_s <= said.p90_s
    assert 0.84 < kept / 400 < 0.97


def test_one_run_that_took_a_hundred_times_as_long_changes_little() -> None:
    memory = _taught(60)
    before, _ = _asked(memory, 5e6)
    estimate_s, run_s = _truth(5e6, 1.0, 1.0)
    after, _ = _asked(learn(memory, {"pixels": 5e6}, estimate_s, run_s=100 * run_s), 5e6)
    assert after.median_s / before.median_s < 1.15


def test_a_slower_card_is_noticed_within_thirty_jobs() -> None:
    memory, chance = _taught(200), Random(3)
    for _ in range(30):
        pixels = chance.uniform(1e6, 2e7)
        estimate_s, run_s = _truth(pixels, 1.0, 3.0)
        memory = learn(memory, {"pixels": pixels}, estimate_s, run_s=run_s)
    said, run_s = _asked(memory, 5e6, wrong=3.0)
    assert 0.75 < said.median_s / run_s < 1.3


runs = st.tuples(
    st.dictionaries(st.sampled_from(["pixels", "frames", "seconds"]), st.floats(allow_nan=True), max_size=3),
    st.floats(allow_nan=True),
    st.floats(allow_nan=True),
)


@given(st.lists(runs, max_size=30), runs)
@settings(max_examples=200, deadline=None)
def test_whatever_it_is_taught_it_says_something_sane(
    taught: list[tuple[dict[str, float], float, float]], asked
) -> None:
    memory = CostMemory()
    for features, estimate_s, run_s in taught:
        memory = learn(memory, features, estimate_s, run_s=run_s)
    again = msgspec.json.decode(msgspec.json.encode(memory), type=CostMemory)
    for known in (memory, again):
        said = predict(known, asked[0], asked[1])
        assert 0.001 <= said.median_s <= said.p90_s <= 7 * 86_400


def test_a_feature_that_comes_later_leaves_what_is_learnt_of_the_others() -> None:
    memory = _taught(80, wrong=4.0)
    before, _ = _asked(memory, 6e6, wrong=4.0)
    estimate_s, run_s = _truth(6e6, 1.0, 4.0)
    memory = learn(memory, {"pixels": 6e6, "frames": 3.0}, estimate_s, run_s=run_s)
    assert memory.names == ("pixels", "frames")
    after, _ = _asked(memory, 6e6, wrong=4.0)
    assert 0.9 < after.median_s / before.median_s < 1.1
    assert memory.jobs == 81, "an engine's new version does not begin at nothing"


def test_more_features_than_can_be_told_apart_are_left_out() -> None:
    features = {f"f{n}": float(n) for n in range(20)}
    assert len(learn(CostMemory(), features, 1.0, run_s=1.0).names) == MOST_FEATURES


@given(st.lists(st.tuples(st.floats(1, 1e8), st.floats(0.01, 1e4), st.floats(0.01, 1e4)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_the_median_alone_is_the_one_of_the_whole_prediction(runs: list[tuple[float, float, float]]) -> None:
    memory = CostMemory()
    for pixels, estimate_s, run_s in runs:
        memory = learn(memory, {"pixels": pixels}, estimate_s, run_s=run_s)
    assert middle_s(memory, {"pixels": 5e5}, 3.0) == predict(memory, {"pixels": 5e5}, 3.0).median_s


def test_five_runs_teach_what_the_engines_estimate_leaves_out() -> None:
    """An estimate that knows nothing of frames, on films of 10 to 100 of them."""
    memory, chance = CostMemory(), Random(4)
    errors: list[float] = []
    for job in range(60):
        frames = chance.uniform(10, 100)
        run_s = 0.5 * frames * math.exp(chance.gauss(0, 0.05))
        if job >= 5:
            errors.append(abs(math.log(middle_s(memory, {"frames": frames}, 10.0) / run_s)))
        memory = learn(memory, {"frames": frames}, 10.0, run_s=run_s)
    assert sum(errors[:5]) / 5 < 0.5, "after five runs within a factor of 1.6"
    assert sum(errors[-20:]) / 20 < 0.2, "after forty within a fifth"

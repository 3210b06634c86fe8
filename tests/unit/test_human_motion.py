"""What a still face does by itself comes from a seed; films are cut, repeated or held to the length of a voice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from springtide.engines.human.footage import shown
from springtide.engines.human.motion import motion_of
from springtide.engines.human.schema import Extend
from springtide.engines.human.warp import Grid, Spline, packed, sampled

FPS = 25.0


def test_a_seed_is_a_performance() -> None:
    opening = np.full(500, 0.4, np.float32)
    first, again, other = (motion_of(opening, fps=FPS, seed=seed, blinks=True, amount=1.0) for seed in (7, 7, 8))
    assert (first.closed == again.closed).all()
    assert (first.pose == again.pose).all()
    assert not (first.closed == other.closed).all()
    assert not (first.pose == other.pose).all()


@pytest.mark.parametrize("fps", [10.0, 25.0, 59.94])
def test_eyes_blink_as_often_as_peoples_do_and_close_each_time(fps: float) -> None:
    minutes = 10
    closed = motion_of(np.zeros(round(minutes * 60 * fps), np.float32), fps=fps, seed=3, blinks=True, amount=1.0).closed
    shut = np.flatnonzero((closed[1:-1] >= closed[:-2]) & (closed[1:-1] > closed[2:]) & (closed[1:-1] > 0.8))
    assert 12 <= len(shut) / minutes <= 24
    assert (closed > 0.05).mean() < 0.15, "they are open nearly all the time"
    assert closed[0] == 0


def test_the_head_begins_at_rest_moves_a_little_and_not_at_all_where_asked() -> None:
    opening = np.abs(np.sin(np.arange(2000) / 4)).astype(np.float32)
    still = motion_of(opening, fps=FPS, seed=1, blinks=False, amount=0.0)
    assert not still.pose.any()
    assert not still.closed.any()
    pose = motion_of(opening, fps=FPS, seed=1, blinks=False, amount=1.0).pose
    assert not pose[0].any()
    assert np.degrees(np.abs(pose[:, :3])).max() < 8
    assert np.abs(pose[:, 3:]).max() < 0.03
    assert np.abs(np.diff(pose, axis=0)).max() < 0.01, "nothing jumps"


def test_an_unbent_picture_comes_out_as_it_went_in_and_a_shift_shifts_it() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (40, 60, 3), np.uint8)
    grid = Grid((0, 0, 60, 40), 7.3)
    across, down = grid.spread(grid.nodes)
    assert apart(sampled(packed(picture), across, down), picture) <= 2, "of 255, in the last row and column only"
    shifted = sampled(packed(picture), across + 3, down + 2)
    assert (shifted[:-3, :-4] == picture[2:-1, 3:-1]).all()
    assert apart(shifted[-1, :-3], picture[-1, 3:]) <= 2, "beyond the edge, the edge's own"


def apart(one: Any, other: Any) -> int:
    return int(np.abs(one.astype(int) - other).max())


def test_between_pixels_colours_are_mixed() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[:, 1] = (200, 100, 40)
    places = np.array([[0.75]], np.float32), np.array([[1.0]], np.float32)
    assert sampled(packed(picture), *places)[0, 0].tolist() == [50, 25, 10]


def test_a_spline_goes_where_its_points_go_and_is_smooth_between() -> None:
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5]], np.float32)
    moved = np.zeros_like(corners)
    moved[4] = (0.1, -0.05)
    bend = Spline(corners, moved)
    assert np.allclose(bend(corners), moved, atol=2e-3)
    near = bend(np.array([[0.5, 0.52]], np.float32))
    assert np.allclose(near, moved[4], atol=0.01)


class Numbered:
    """A film of `length` frames that say their number; a part of it is asked for by time."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.held = 0

    def frames(
        self, *, fps: float, size: tuple[int, int], start_s: float = 0.0, stop_s: float | None = None
    ) -> Iterator[Any]:
        first, last = round(start_s * fps), self.length if stop_s is None else round(stop_s * fps)
        for number in range(first, min(last, self.length)):
            yield np.full((2, 2, 3), number, np.uint8)


def numbers(length: int, count: int, extend: Extend, size: tuple[int, int] = (2, 2)) -> list[int]:
    film: Any = Numbered(length)
    return [int(frame[0, 0, 0]) for frame in shown(film, count=count, fps=FPS, size=size, extend=extend)]


def test_a_film_that_is_longer_than_the_voice_is_cut() -> None:
    assert numbers(100, 4, Extend.PINGPONG) == [0, 1, 2, 3]


def test_a_film_that_is_shorter_goes_back_and_forth_without_a_stop() -> None:
    assert numbers(4, 12, Extend.PINGPONG) == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]
    assert numbers(2, 5, Extend.PINGPONG) == [0, 1, 0, 1, 0]


def test_or_begins_again_or_holds_its_last_frame() -> None:
    assert numbers(3, 8, Extend.LOOP) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert numbers(3, 6, Extend.HOLD) == [0, 1, 2, 2, 2, 2]
    assert numbers(1, 3, Extend.PINGPONG) == [0, 0, 0]


def test_a_long_film_is_played_backwards_in_parts() -> None:
    large = (4096, 2730)  # of which three frames are held at once, but never fewer than eight
    assert numbers(30, 59, Extend.PINGPONG, large) == [*range(30), *range(28, -1, -1)]

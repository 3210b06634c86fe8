"""The preview's camera: what is near moves more, what is aimed at stays, and no frame sees past the picture."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.engines.video.camera import Pose, Reach, needed_zoom, pose_at
from springtide.engines.video.wording import AXES, Move

PHASES = (0.1, 0.7, 0.3, 0.9, 0.5, 0.2)
FRAME = Reach(0.5, 0.29, 0.5, 0.29)


def at(move: Move, t: float, **changes: Any) -> Pose:
    return pose_at([move], t, **{"seconds": 5.0, "motion": 1.0, "phases": PHASES, **changes})


def seen_from(pose: Pose, u: float, d: float) -> float:
    """Where along the frame the point `u` of the picture is seen: the inverse of `look_at`, by bisection."""
    low, high = -2.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if pose.look_at(middle, 0.0, d, zoom=1.0)[0] < u else (low, middle)
    return low


def test_in_an_orbit_the_subject_stays_and_what_is_behind_it_moves() -> None:
    first, last = at(Move.ORBIT, 0.0), at(Move.ORBIT, 1.0)
    assert seen_from(first, 0.0, 1.0) == pytest.approx(seen_from(last, 0.0, 1.0), abs=1e-9)
    assert abs(seen_from(first, 0.0, 0.4) - seen_from(last, 0.0, 0.4)) > 0.05


@pytest.mark.parametrize("move", [Move.PAN_LEFT, Move.PAN_RIGHT])
def test_in_a_pan_what_is_near_moves_more(move: Move) -> None:
    first, last = at(move, 0.0), at(move, 1.0)
    near, far = (seen_from(last, 0.0, d) - seen_from(first, 0.0, d) for d in (1.0, 0.2))
    assert near * far < 0 or abs(near) > abs(far)
    assert (near > 0) is (move is Move.PAN_LEFT), "the camera goes left, so the subject goes right"


def test_a_push_enlarges_what_is_near_more_and_holds_its_aim() -> None:
    pose = at(Move.ZOOM_IN, 1.0, aim=(-0.2, -0.1))
    assert pose.look_at(-0.2, -0.1, 1.0, zoom=1.0) == pytest.approx((-0.2, -0.1))
    near, far = (seen_from(pose, 0.1, d) - seen_from(pose, 0.0, d) for d in (1.0, 0.3))
    assert near > far > 0.1
    assert at(Move.ZOOM_OUT, 0.0).z == pytest.approx(at(Move.ZOOM_IN, 1.0).z)


def test_no_motion_is_no_motion_and_still_is_still() -> None:
    for move in Move:
        assert at(move, 0.3, motion=0.0)[:3] == (0.0, 0.0, 0.0)
    assert at(Move.STILL, 0.7) == Pose()


def test_hands_differ_by_their_phases_and_not_by_length_of_the_shot() -> None:
    assert at(Move.HANDHELD, 0.5) != at(Move.HANDHELD, 0.5, phases=(0.2,) * 6)
    assert at(Move.HANDHELD, 0.5, seconds=4.0) == at(Move.HANDHELD, 0.25, seconds=8.0)


@given(
    moves=st.tuples(*(st.sampled_from([*axis, Move.STILL]) for axis in map(sorted, AXES))),
    motion=st.floats(0, 2),
    aim=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.25, 0.25)),
    spare=st.floats(0, 0.5),
)
def test_no_frame_sees_past_the_picture(
    moves: tuple[Move, ...], motion: float, aim: tuple[float, float], spare: float
) -> None:
    reach = FRAME._replace(left=0.5 + spare)
    poses = [pose_at(moves, t / 20, seconds=5, motion=motion, phases=PHASES, aim=aim) for t in range(21)]
    zoom = needed_zoom(poses, reach, half_height=0.29, nearest=1.05, farthest=0.42)
    assert 1.0 <= zoom < 2.0
    for pose in poses:
        for u in (-0.5, 0.5):
            for v in (-0.29, 0.29):
                for d in (0.42, 0.7, 1.05):
                    x, y = pose.look_at(u, v, d, zoom=zoom)
                    assert -reach.left - 1e-6 <= x <= reach.right + 1e-6
                    assert -reach.top - 1e-6 <= y <= reach.bottom + 1e-6

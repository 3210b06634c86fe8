"""Where the camera of a preview is at each instant, and where on a picture it then looks. Pure geometry.

One pinhole: a point of the picture at (u, v), in frame widths from the centre of the view, stands at the depth 1/d,
where the disparity d is 0 at infinity and 1 near by, about as far as the lower border. From a camera moved by (x, y, z)
it is seen at

    u' = zoom · ((u - x·d) / (1 - z·d) + turn)        turn = follow · x·f / (1 - z·f)

so what is near moves more than what is far. The turn brings the camera back towards the subject, at disparity f: with
follow 1 that stays where it was (an orbit), with 0 it slides out of view (a truck shot). Everything here is the inverse
of that: from the frame to the picture. Moves of different axes add up; distances are chosen so that a subject of the
usual size stays in view.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from springtide.engines.video.wording import Move

# How far a move goes at motion 1, in frame widths at the subject's distance; by eye, on a portrait and a street.
PUSH, TRUCK, ORBIT, LIFT, DRIFT = 0.17, 0.07, 0.065, 0.045, 0.035
FOLLOW = {Move.ORBIT: 1.0, Move.PAN_LEFT: 0.35, Move.PAN_RIGHT: 0.35, Move.RISE: 0.4, Move.FALL: 0.4}
# A hand: slow sway, then tremor. Hertz, and frame widths.
SWAY = ((0.45, 0.0060), (1.1, 0.0028), (2.7, 0.0010))
LEAST_FOCUS = 0.5  # disparity: for subjects farther away the camera goes no farther
ROLL = 0.005  # radians at most, of a hand


class Pose(NamedTuple):
    """The camera at one instant."""

    x: float = 0.0  # to the right
    y: float = 0.0  # down
    z: float = 0.0  # forward
    turn_x: float = 0.0  # how much the view is turned back, frame widths
    turn_y: float = 0.0
    roll: float = 0.0  # radians

    def look_at(self, u: Any, v: Any, d: Any, *, zoom: float) -> tuple[Any, Any]:
        """The place on the picture that is seen at (u, v) of the frame, for disparity `d` there. Floats or arrays."""
        u, v = u / zoom, v / zoom
        if self.roll:
            cos, sin = math.cos(self.roll), math.sin(self.roll)
            u, v = u * cos - v * sin, u * sin + v * cos
        near = 1.0 - self.z * d
        return (u - self.turn_x) * near + self.x * d, (v - self.turn_y) * near + self.y * d


class Reach(NamedTuple):
    """How far a picture goes from the centre of the view, frame widths."""

    left: float
    top: float
    right: float
    bottom: float


def pose_at(
    moves: Collection[Move],
    t: float,
    *,
    seconds: float,
    motion: float,
    phases: tuple[float, ...],
    aim: tuple[float, float] = (0.0, 0.0),
    focus: float = 1.0,
) -> Pose:
    """The camera at `t` (0 to 1) of a shot of `seconds`.

    phases: six numbers of 0 to 1 by which hands differ. aim: the place in the frame that a push goes to, a face say.
    focus: disparity of the subject. The camera goes farther for one that is far, so that as much is seen of the move.
    """
    e = 0.5 * t + 0.5 * t * t * (3.0 - 2.0 * t)  # starts and ends soft, without standing still
    swing = 2.0 * e - 1.0  # -1 to 1
    x = y = z = follow_x = follow_y = roll = 0.0
    for move in moves or (Move.ORBIT,):
        match move:
            case Move.ZOOM_IN:
                z += PUSH * e
            case Move.ZOOM_OUT:
                z += PUSH * (1.0 - e)
            case Move.PAN_LEFT | Move.PAN_RIGHT:
                x += TRUCK * (swing if move is Move.PAN_RIGHT else -swing)
            case Move.ORBIT:
                x += ORBIT * swing
                z += DRIFT * e
            case Move.RISE | Move.FALL:
                y += LIFT * (-swing if move is Move.RISE else swing)
            case Move.HANDHELD | Move.STILL:
                pass
        if move in (Move.RISE, Move.FALL):
            follow_y = FOLLOW[move]
        else:
            follow_x = max(follow_x, FOLLOW.get(move, 0.0))
    focus = max(focus, LEAST_FOCUS)
    x, y, z = x * motion / focus, y * motion / focus, z * motion
    turn_x, turn_y = (follow * way * focus / (1.0 - z * focus) for follow, way in ((follow_x, x), (follow_y, y)))
    x, y = x + aim[0] * z, y + aim[1] * z  # so the place aimed at stays where it is in the frame
    if Move.HANDHELD in moves:
        time_s = t * seconds
        x += motion * _sway(time_s, phases[0:2])
        y += motion * _sway(time_s, phases[2:4])
        roll = motion * ROLL / SWAY[0][1] * _sway(time_s, phases[4:6])
    return Pose(x, y, z, turn_x, turn_y, roll)


def needed_zoom(poses: Iterable[Pose], reach: Reach, *, half_height: float, nearest: float, farthest: float) -> float:
    """The least enlargement with which no frame sees past the picture's borders, at least 1.

    half_height: of the frame, in frame widths. nearest, farthest: the range of disparities in the picture.
    """
    zoom = 1.0
    for pose in poses:
        # A rolled frame is as wide and as high as the box around it.
        cos, sin = abs(math.cos(pose.roll)), abs(math.sin(pose.roll))
        half_w, half_h = 0.5 * cos + half_height * sin, half_height * cos + 0.5 * sin
        for d in (nearest, farthest):
            near = 1.0 - pose.z * d
            off_x, off_y = pose.x * d - pose.turn_x * near, pose.y * d - pose.turn_y * near
            room = (
                (half_w, reach.left + off_x),
                (half_w, reach.right - off_x),
                (half_h, reach.top + off_y),
                (half_h, reach.bottom - off_y),
            )
            zoom = max(zoom, *(half * near / max(left, 0.05) for half, left in room))
    return zoom


def _sway(time_s: float, phases: tuple[float, ...]) -> float:
    first, second = phases
    return sum(
        size * math.sin(math.tau * (hertz * (1.0 + 0.13 * first) * time_s + first + number * second))
        for number, (hertz, size) in enumerate(SWAY)
    )

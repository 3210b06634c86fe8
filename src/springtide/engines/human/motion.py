"""What a still face does by itself: it blinks, and its head is never quite at rest.

All of it comes from a seed: the same seed, the same movements, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from springtide.engines.human.warp import Array

# Of adults who talk or listen: 15 to 20 blinks a minute, a lid down for 0.1 to 0.3 s (Bentivoglio and others 1997).
BLINK_EVERY_S = 3.6
BLINK_SOONEST_S = 1.3
TWICE = 0.12  # of all blinks come in pairs
CLOSING_S, CLOSED_S, OPENING_S = 0.08, 0.05, 0.17
# How far a head moves that is held still, at `amount` 1; standard deviations.
ROLL, YAW, PITCH = 0.010, 0.030, 0.018  # radians
ACROSS, DOWN = 0.007, 0.005  # heights of the face
NOD = 0.028  # radians that a loud syllable adds to the pitch
SLOWEST_HZ, FASTEST_HZ = 0.07, 0.42
WAVES = 5
SETTLES_S = 1.0  # the first frame is the photo itself; movement grows from there
NOD_SPREAD_S = 0.16


@dataclass(frozen=True)
class Motion:
    """What happens in each frame."""

    closed: Array  # float32[frames]: how far the lids are down, 0 to 1
    pose: Array  # float32[frames, 5]: roll, yaw, pitch (radians), across, down (heights of the face)


def motion_of(opening: Array, *, fps: float, seed: int, blinks: bool, amount: float) -> Motion:
    """opening: of the mouth, float32[frames]. amount: of idle motion, 0 for none, 1 for as much as is natural."""
    lids, head = (np.random.default_rng((seed, part)) for part in range(2))
    times = np.arange(len(opening), dtype=np.float32) / fps
    closed = _blinks(lids, times) if blinks else np.zeros(len(times), np.float32)
    spread = np.array([ROLL, YAW, PITCH, ACROSS, DOWN], np.float32)
    pose = np.stack([_drift(head, times) for _ in spread], 1) * spread
    pose[:, 2] += NOD * _nods(opening, fps)
    pose *= amount * np.clip(times / SETTLES_S, 0, 1)[:, None]
    return Motion(closed=closed, pose=pose.astype(np.float32))


def _blinks(chance: Generator, times: Array) -> Array:
    closed = np.zeros(len(times), np.float32)
    at_s = float(chance.uniform(0.6, 2.4))
    while at_s < (times[-1] if len(times) else 0.0):
        _close(closed, times, at_s)
        if chance.random() < TWICE:
            _close(closed, times, at_s + CLOSING_S + CLOSED_S + OPENING_S)
        at_s += BLINK_SOONEST_S + float(chance.gamma(2.0, (BLINK_EVERY_S - BLINK_SOONEST_S) / 2.0))
    return closed


def _close(closed: Array, times: Array, at_s: float) -> None:
    """One blink into `closed`, from `at_s` on."""
    ends_s = at_s + CLOSING_S + CLOSED_S + OPENING_S
    first, last = np.searchsorted(times, [at_s, ends_s])
    since = times[first:last] - at_s
    down = np.clip(since / CLOSING_S, 0, 1)
    up = np.clip((since - CLOSING_S - CLOSED_S) / OPENING_S, 0, 1)
    lid = np.sin(np.pi / 2 * down) ** 2 * np.cos(np.pi / 2 * up) ** 2
    closed[first:last] = np.maximum(closed[first:last], lid)


def _drift(chance: Generator, times: Array) -> Array:
    """Slow and never repeating, standard deviation about 1."""
    hertz = np.geomspace(SLOWEST_HZ, FASTEST_HZ, WAVES) * chance.uniform(0.8, 1.25, WAVES)
    turns = chance.uniform(0, 2 * np.pi, WAVES)
    weight = hertz**-0.5
    weight *= np.sqrt(2 / (weight**2).sum())
    return (np.sin(2 * np.pi * hertz * times[:, None] + turns) @ weight).astype(np.float32)


def _nods(opening: Array, fps: float) -> Array:
    """The loudness of syllables, smoothed: heads nod with what is stressed."""
    reach = max(1, round(3 * NOD_SPREAD_S * fps))
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (NOD_SPREAD_S * fps)) ** 2)
    smooth = np.convolve(np.pad(opening, reach), bell / bell.sum(), mode="valid")
    return (smooth - 0.25 * np.clip(opening.max(initial=0), 0, 1)).astype(np.float32)

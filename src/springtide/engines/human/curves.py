"""How far and how wide the mouth is open in each frame of the video, from the sound alone.

Promises that silence closes the mouth, that lips move no faster than lips can, and that an hour of sound takes a few
megabytes. Music and noise do not move the mouth where the voice detector is asked: only what it takes for speech does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from springtide.engines.human.visemes import HOP, RATE, Array, Prototypes, SoundFrames

LEAD_S = 0.04  # lips are ahead of the sound they make
SPREAD_S = 0.028  # standard deviation of the average over time: about the length of a short sound
ATTACK_S = 0.07  # from closed to wide open, at the fastest
RELEASE_S = 0.09  # and back
QUIET_DB = -58.0  # below is silence; read speech is at -5 to -20 dB, the quietest recording that is of use at -40
RANGE_DB = 38.0  # between loud and inaudible speech
ABOVE_NOISE_DB = 8.0
LEAST_RANGE_DB = 14.0  # of speech without a pause, in which there is no noise to be above of
FULL = 0.95  # where the 97th percentile of the opening is put, so that a mumbler's lips are seen to move as well
LEAST_FULL = 0.25  # but never by more than four times
FULL_WIDTH, MOST_WIDTH = 0.6, 3.0  # the same for the width: averages over sounds leave little of it
VOICED_FROM, VOICED_TO = 0.12, 0.45  # probability of speech at which the mouth begins to move, and moves in full
VOICE_HOPS = 2  # the voice detector's windows are two hops long
REACH = 7  # hops: a sound before the detector notices belongs to the word it begins


@dataclass(frozen=True)
class Curves:
    """The mouth over time."""

    open: Array  # float32[frames], 0 closed to 1 wide open
    width: Array  # float32[frames], -1 rounded to 1 spread
    sound_s: float  # length of the sound
    voiced: bool  # whether anybody speaks

    def __len__(self) -> int:
        return len(self.open)


def read_curves(
    chunks: Iterable[Array], prototypes: Prototypes, *, fps: float, voice: Callable[[Array], Iterable[float]] | None
) -> Curves:
    """Curves with one value a frame, as many frames as the sound is long (rounded to the nearest, at least one).

    chunks: the sound at 16 kHz, mono; all but the last a whole number of 512 samples.
    voice: gives the probability of speech for each 512 samples; None where every sound shall move the mouth.
    """
    frames, total = SoundFrames(), 0
    shapes, levels, probabilities = list[Array](), list[Array](), list[float]()
    for samples in chunks:
        total += len(samples)
        features, level = frames.push(samples)
        shapes.append(prototypes.shapes(features))
        levels.append(level)
        if voice is not None:
            probabilities.extend(voice(np.pad(samples, (0, -len(samples) % (HOP * VOICE_HOPS)))))
    features, level = frames.finish()
    shapes.append(prototypes.shapes(features))
    levels.append(level)
    shape, level = np.concatenate(shapes), np.concatenate(levels)
    active = _activity(level) * _voiced(probabilities, len(level)) if voice is not None else _activity(level)
    times = np.arange(max(1, round(total / RATE * fps)), dtype=np.float32) / fps
    opening = _at(times, shape[:, 0] * active * (0.35 + 0.75 * _loudness(level)))
    opening = np.clip(opening * (FULL / max(float(np.percentile(opening, 97)), LEAST_FULL)), 0, 1)
    width = _at(times, shape[:, 1] * active)
    width = np.clip(width * min(MOST_WIDTH, FULL_WIDTH / max(float(np.percentile(np.abs(width), 95)), 1e-3)), -1, 1)
    return Curves(
        open=_paced(opening, fps),
        width=width,
        sound_s=total / RATE,
        voiced=bool(active.max(initial=0) > 0.5),
    )


def _bounds(level: Array) -> tuple[float, float]:
    """From which level on sound is speech, and the level of loud speech, dB."""
    floor, peak = np.percentile(level, [10, 97])
    above_noise = min(float(floor) + ABOVE_NOISE_DB, float(peak) - LEAST_RANGE_DB)
    return max(above_noise, float(peak) - RANGE_DB, QUIET_DB), float(peak)


def _activity(level: Array) -> Array:
    threshold, _ = _bounds(level)
    return 1 / (1 + np.exp(-(level - threshold) / 2.5))


def _loudness(level: Array) -> Array:
    threshold, peak = _bounds(level)
    return np.clip((level - threshold) / max(peak - threshold, 1.0), 0, 1) ** 0.7


def _voiced(probabilities: list[float], hops: int) -> Array:
    """0 to 1 for each hop: whether there is speech within a tenth of a second."""
    known = np.repeat(np.asarray(probabilities, np.float32), VOICE_HOPS)
    known = np.pad(known, (0, max(0, hops - len(known))), mode="edge")[:hops]
    near = np.lib.stride_tricks.sliding_window_view(np.pad(known, REACH), 2 * REACH + 1).max(1)
    return np.clip((near - VOICED_FROM) / (VOICED_TO - VOICED_FROM), 0, 1)


def _at(times: Array, values: Array) -> Array:
    """The values, one a hop, averaged with a bell curve around each time."""
    centre = (times + LEAD_S) * (RATE / HOP)
    reach = int(np.ceil(3.5 * SPREAD_S * RATE / HOP))
    hops = np.rint(centre).astype(np.intp)[:, None] + np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * ((hops - centre[:, None]) * (HOP / RATE / SPREAD_S)) ** 2)
    weight[(hops < 0) | (hops >= len(values))] = 0
    found = (values[hops.clip(0, len(values) - 1)] * weight).sum(1)
    return (found / (weight.sum(1) + 1e-9)).astype(np.float32)


def _paced(opening: Array, fps: float) -> Array:
    """No faster than lips move."""
    up, down = 1 / (ATTACK_S * fps), 1 / (RELEASE_S * fps)
    paced, now = opening.copy(), 0.0
    for index, wanted in enumerate(opening.tolist()):
        now = min(max(wanted, now - down), now + up)
        paced[index] = now
    return paced

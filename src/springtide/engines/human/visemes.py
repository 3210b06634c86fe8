"""From sound to mouth shapes: 39 Gaussian prototypes of phonemes over mel cepstra, a stretch of sound at a time.

The prototypes are those of @met4citizen/headaudio 0.1.0 (MIT, trained on English synthetic speech); the arithmetic is
its own, with two differences that change no result: its pre-emphasis at 24 kHz is applied to the power spectrum of the
16 kHz sound, and the level is evened out per chunk (only the floor of the logarithm depends on it). Memory does not
grow with the sound but for the five figures kept per hop of 16 ms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from springtide.domain.errors import ConfigError

Array = NDArray[np.floating[Any]]

RATE = 16000  # Hz
WINDOW = 512  # samples: 32 ms
HOP = 256  # samples: 16 ms
BANDS = 40
COEFFICIENTS = 12
RECORD_BYTES = 368  # 8 of header (the last is the viseme), 12 means, 78 of the lower triangle of the inverse covariance
SILENT = 14
SILENCE_BIAS = 1.2  # headaudio's default: distances to silence count that much less
SOFTNESS = 1.5  # of the choice between visemes: 0 would switch, 3 would mumble
LEVEL = 0.5  # each chunk is scaled to this at its 99.5th percentile
FLOOR = 1e-10

# What the lips do in each of the 15 Oculus visemes: opening 0 to 1, width -1 (rounded) to 1 (spread). By eye.
SHAPES = np.array(
    [
        [1.00, 0.00],  # aa
        [0.62, 0.30],  # E
        [0.38, 0.65],  # I
        [0.75, -0.55],  # O
        [0.38, -0.90],  # U
        [0.00, 0.00],  # PP
        [0.14, 0.40],  # SS
        [0.22, 0.10],  # TH
        [0.25, 0.15],  # DD
        [0.06, 0.10],  # FF
        [0.34, 0.05],  # kk
        [0.22, 0.10],  # nn
        [0.30, -0.40],  # RR
        [0.22, -0.50],  # CH
        [0.00, 0.00],  # silence
    ],
    np.float32,
)


class Prototypes:
    """The classifier's parameters."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError where the file is not as expected."""
        data = np.fromfile(path, np.uint8)
        if not len(data) or len(data) % RECORD_BYTES:
            raise ConfigError(f"{path} is no file of viseme prototypes: {len(data)} bytes")
        records = data.reshape(-1, RECORD_BYTES)
        values = np.ascontiguousarray(records[:, 8:]).view("<f4")
        self.viseme = records[:, 7].astype(np.intp)
        self.mean = values[:, :COEFFICIENTS]
        self.precision = np.zeros((len(values), COEFFICIENTS, COEFFICIENTS), np.float32)
        rows, columns = np.tril_indices(COEFFICIENTS)
        self.precision[:, rows, columns] = self.precision[:, columns, rows] = values[:, COEFFICIENTS:]

    def shapes(self, features: Array) -> Array:
        """float32[n, 12] to float32[n, 2]: opening and width of the mouth, each viseme by its likelihood."""
        apart = features[:, None] - self.mean[None]
        along = np.matmul(apart.transpose(1, 0, 2), self.precision).transpose(1, 0, 2)
        distance = np.einsum("npi,npi->np", along, apart)
        distance[:, self.viseme == SILENT] /= SILENCE_BIAS
        nearest = np.full((len(features), len(SHAPES)), np.inf, np.float32)
        for viseme in np.unique(self.viseme):
            nearest[:, viseme] = distance[:, self.viseme == viseme].min(1)
        weight = np.exp((nearest.min(1, keepdims=True) - nearest) / (2 * SOFTNESS))
        return (weight / weight.sum(1, keepdims=True)) @ SHAPES


class SoundFrames:
    """Cuts sound into overlapping windows, chunk by chunk, and says of each its features and its level.

    The window of hop k is centred on sample k × 256 of the recording.
    """

    def __init__(self) -> None:
        self._rest = np.zeros(WINDOW // 2, np.float32)
        self._bands = _mel_bands()
        steps = np.arange(1, COEFFICIENTS + 1)
        angles = np.pi * steps[:, None] * (np.arange(BANDS) + 0.5) / BANDS
        lifter = 1 + 11 * np.sin(np.pi * steps / 22)
        self._cosines = (np.sqrt(2 / BANDS) * np.cos(angles) * lifter[:, None]).T.astype(np.float32)
        self._window = np.hamming(WINDOW).astype(np.float32)
        turn = 2 * np.pi * np.arange(WINDOW // 2) * RATE / WINDOW / 24000
        self._emphasis = ((1 + 0.97**2 - 2 * 0.97 * np.cos(turn)) / WINDOW).astype(np.float32)

    def push(self, samples: Array) -> tuple[Array, Array]:
        """float32[samples], the next of the recording at 16 kHz. Returns features float32[n, 12] (liftered, squashed
        cepstra) and levels float32[n] in dB, 0 dB about the loudest speech that a recording can hold."""
        sound = np.concatenate([self._rest, samples])
        count = max(0, (len(sound) - WINDOW) // HOP + 1)
        self._rest = sound[count * HOP :].copy()
        if not count:
            return np.zeros((0, COEFFICIENTS), np.float32), np.zeros(0, np.float32)
        gain = np.float32(LEVEL / (np.percentile(np.abs(sound), 99.5) + 1e-6))
        windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[: count * HOP : HOP]
        spectrum = np.fft.rfft(windows * (self._window * gain), axis=1)[:, : WINDOW // 2]
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) * self._emphasis
        level = 10 * np.log10(power.sum(1) + FLOOR) - 20 * np.log10(gain)
        cepstra = np.log10(power @ self._bands + FLOOR) @ self._cosines
        return np.tanh(cepstra), level.astype(np.float32)

    def finish(self) -> tuple[Array, Array]:
        """The windows that reach past the end."""
        return self.push(np.zeros(WINDOW, np.float32))


def _mel_bands() -> Array:
    """float32[256, 40]: triangles from 30 to 7800 Hz, their corners on whole bins as headaudio has them."""
    low, high = 2595 * np.log10(1 + np.array([30, 7800]) / 700)
    hertz = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    corners = np.floor(hertz / RATE * WINDOW).astype(int)
    bands = np.zeros((WINDOW // 2, BANDS), np.float32)
    for band in range(BANDS):
        left, peak, right = corners[band : band + 3]
        for bin_ in range(left, peak):
            bands[bin_, band] = (bin_ - left) / (peak - left)
        for bin_ in range(peak, min(right, WINDOW // 2)):
            bands[bin_, band] = (right - bin_) / (right - peak)
    return bands

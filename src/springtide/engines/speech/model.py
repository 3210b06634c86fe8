"""Whisper that hears every piece once: its language is found and its text written from the same encoding.

The library encodes a piece twice where the language is not known, and encoding is a third to a half of all the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from numpy.typing import NDArray


class Whisper(WhisperModel):
    """A `WhisperModel` that keeps the last encoding. For one thread at a time, as the library's own is."""

    _encoded: tuple[NDArray[np.float32], Any] | None = None

    def encode(self, features: NDArray[np.float32]) -> Any:
        if self._encoded is None or not np.array_equal(self._encoded[0], features):
            self._encoded = features, super().encode(features)
        return self._encoded[1]

    def language_of(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        """The likeliest language of a piece (float32, 16 kHz, mono) and its probability."""
        if not self.model.is_multilingual:
            return "en", 1.0
        features = self.feature_extractor(samples)
        frames = min(features.shape[-1] - 1, self.feature_extractor.nb_max_frames)  # what `transcribe` encodes first
        token, probability = self.model.detect_language(self.encode(pad_or_trim(features[:, :frames])))[0][0]
        return str(token).strip("<|>"), float(probability)

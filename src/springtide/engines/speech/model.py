"""Whisper that does nothing twice and nothing in vain: hears a piece once, and only as long as it is.

The library pads every piece to half a minute and encodes it a second time where the language is not known; with short
pieces that is most of all the work. Here a piece is encoded with a few seconds of silence behind it (docs/decisions,
"fitted windows"), once, and whatever then fails the library's own checks is heard again with the whole window.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from numpy.typing import NDArray

MARGIN_FRAMES = 600  # silence kept behind a piece, hundredths of a second: with 1 s the model goes round in circles
STEP_FRAMES = 100
REPETITIVE = 2.4  # the library's own thresholds: zlib ratio above which text goes round in circles,
UNSURE = -1.0  # and mean log probability below which it is guessed
HALF_PROMPT = 110  # tokens each for hot words and prompt: the model takes 448, and half of them must be left for text


class Whisper(WhisperModel):
    """A `WhisperModel` whose threads each keep their last encoding."""

    def __init__(self, folder: str, *, fitted: bool = True, **options: Any) -> None:
        super().__init__(folder, **options)
        self._fitted = fitted
        self._last = threading.local()

    def encode(self, features: NDArray[np.float32]) -> Any:
        last = getattr(self._last, "encoded", None)
        if last is None or not np.array_equal(last[0], features):
            last = features, super().encode(_trimmed(features) if self._fitted else features)
            self._last.encoded = last
        return last[1]

    def language_of(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        """The likeliest language of a piece (float32, 16 kHz, mono) and its probability."""
        if not self.model.is_multilingual:
            return "en", 1.0
        features = self.feature_extractor(samples)
        frames = min(features.shape[-1] - 1, self.feature_extractor.nb_max_frames)  # what `transcribe` encodes first
        token, probability = self.model.detect_language(self.encode(pad_or_trim(features[:, :frames])))[0][0]
        return str(token).strip("<|>"), float(probability)

    def generate_with_fallback(self, encoder_output: Any, prompt: list[int], tokenizer: Any, options: Any) -> Any:
        """With a fitted window the first try only; with a whole one all, where that text is repetitive or unsure."""
        last = getattr(self._last, "encoded", None)
        if not self._fitted or last is None or last[1] is not encoder_output:
            return super().generate_with_fallback(encoder_output, prompt, tokenizer, options)
        found = super().generate_with_fallback(
            encoder_output, prompt, tokenizer, replace(options, temperatures=options.temperatures[:1])
        )
        _, log_probability, _, compression = found
        if compression <= REPETITIVE and log_probability >= UNSURE:
            return found
        whole = super().encode(last[0])
        return super().generate_with_fallback(whole, prompt, tokenizer, options)

    def fitting_hotwords(self, hotwords: list[str]) -> list[str]:
        """As many of them as the model has room for, the first first."""
        found: list[str] = []
        for word in hotwords:
            if self._tokens(" ".join([*found, word])) > HALF_PROMPT:
                break
            found.append(word)
        return found

    def fitting_prompt(self, prompt: str | None) -> str | None:
        """The end of a prompt that is too long for the model."""
        while prompt and (excess := self._tokens(prompt) - HALF_PROMPT) > 0:
            prompt = prompt[max(1, excess // 4) :]
        return prompt

    def _tokens(self, text: str) -> int:
        return len(self.hf_tokenizer.encode(text, add_special_tokens=False).ids)


def _trimmed(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (mel bands × frames) padded with zeros to half a minute, with less of that padding."""
    heard = np.flatnonzero(features.any(axis=0))
    frames = 0 if not len(heard) else int(heard[-1]) + 1
    wanted = -(-(frames + MARGIN_FRAMES) // STEP_FRAMES) * STEP_FRAMES
    return np.ascontiguousarray(features[:, : min(wanted, features.shape[1])])

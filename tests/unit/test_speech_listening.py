"""Listening: what is told to be done is done, and the pieces hold the recording's own samples."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from springtide.engines.speech.cuts import RATE, WINDOW
from springtide.engines.speech.listening import Recording, VoiceDetector


class LoudIsSpeech:
    """A detector for tests: a window is speech where it is not silent."""

    def reset(self) -> None: ...

    def __call__(self, samples: NDArray[np.float32]) -> list[float]:
        return [float(window.max() > 0.1) for window in samples.reshape(-1, WINDOW)]


def recording(path: Path, loud: list[tuple[float, float]], seconds: float, **more: Any) -> Recording:
    samples = np.zeros(round(seconds * RATE), "<i2")
    for start_s, end_s in loud:
        samples[round(start_s * RATE) : round(end_s * RATE)] = 16384
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return Recording(path, cast("VoiceDetector", LoudIsSpeech()), **more)


def test_progress_never_tells_of_speech_that_was_not_given_out_and_never_goes_back(tmp_path: Path) -> None:
    told: list[float] = []
    loud = [(1.0, 9.0), (40.0, 60.0), (61.0, 99.0), (120.0, 121.0)]
    for span, _ in recording(tmp_path / "a.wav", loud, 150.0, heard=told.append).pieces():
        assert all(at_s * RATE <= span.start for at_s in told)
        told.append(span.end / RATE)  # what the engine tells once the piece is written down
    assert told == sorted(told)
    assert told[-1] > 140


def test_a_piece_holds_its_own_samples_also_across_chunks(tmp_path: Path) -> None:
    pieces = list(recording(tmp_path / "a.wav", [(30.0, 40.0)], 50.0).pieces())
    [(span, samples)] = pieces
    assert len(samples) == span.end - span.start
    assert (samples > 0.1).sum() == pytest.approx(10 * RATE, abs=WINDOW)
    assert span.start / RATE == pytest.approx(29.8, abs=0.05)


def test_silence_has_no_pieces(tmp_path: Path) -> None:
    silent = recording(tmp_path / "a.wav", [], 20.0)
    assert list(silent.pieces()) == []
    assert silent.heard_s == 20.0

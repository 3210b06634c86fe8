"""Speech opens the mouth, silence closes it, and lips move no faster than lips."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from springtide.domain.errors import ConfigError
from springtide.engines.human.curves import ATTACK_S, read_curves
from springtide.engines.human.visemes import RATE, SHAPES, Prototypes, SoundFrames

FPS = 25.0
Sound = NDArray[np.float32]


@pytest.fixture
def vowel() -> Prototypes:
    """Two prototypes: whatever is there sounds like the vowel of "father", unless it is told to be silence."""
    return prototypes(Path("unused"), near=0)


def prototypes(path: Path, *, near: int) -> Prototypes:
    made = Prototypes.__new__(Prototypes)
    made.viseme = np.array([near, 14])
    made.mean = np.array([np.zeros(12), np.full(12, 9.0)], np.float32)
    made.precision = np.tile(np.eye(12, dtype=np.float32), (2, 1, 1))
    return made


def voice(seconds: float) -> Sound:
    """A buzz with the loudness of syllables, four a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * math.pi * 140 * k * t) / k for k in range(1, 20))
    return (0.2 * buzz * np.clip(np.sin(2 * math.pi * 2 * t) ** 2, 0.001, 1)).astype(np.float32)


def pieces(sound: Sound, size: int = 512 * 20) -> list[Sound]:
    return [sound[start : start + size] for start in range(0, len(sound), size)]


def test_a_mouth_opens_with_each_syllable_and_closes_between(vowel: Prototypes) -> None:
    curves = read_curves(pieces(voice(4.0)), vowel, fps=FPS, voice=None)
    assert len(curves) == 100
    assert curves.open.max() > 0.8
    spectrum = np.abs(np.fft.rfft(curves.open - curves.open.mean()))
    assert np.fft.rfftfreq(100, 1 / FPS)[spectrum.argmax()] == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(RATE * 2, np.float32), np.random.default_rng(1).normal(0, 10**-4.3, RATE * 2).astype(np.float32)],
    ids=["digital silence", "a quiet room"],
)
def test_silence_keeps_the_mouth_closed(vowel: Prototypes, sound: Sound) -> None:
    curves = read_curves(pieces(sound), vowel, fps=FPS, voice=None)
    assert curves.open.max() < 0.1
    assert not curves.voiced


def test_what_is_no_voice_does_not_move_the_mouth(vowel: Prototypes) -> None:
    music = read_curves(pieces(voice(2.0)), vowel, fps=FPS, voice=lambda samples: [0.02] * (len(samples) // 512))
    assert music.open.max() == 0
    assert not music.voiced
    speech = read_curves(pieces(voice(2.0)), vowel, fps=FPS, voice=lambda samples: [0.9] * (len(samples) // 512))
    assert speech.open.max() > 0.8
    assert speech.voiced


def test_closed_lips_stay_closed_however_loud_the_sound(tmp_path: Path) -> None:
    curves = read_curves(pieces(voice(2.0)), prototypes(tmp_path, near=5), fps=FPS, voice=None)
    assert curves.open.max() < 0.05


def test_how_sound_is_cut_into_pieces_does_not_matter(vowel: Prototypes) -> None:
    sound = voice(3.1)
    whole = read_curves([sound], vowel, fps=FPS, voice=None)
    parts = read_curves(pieces(sound, 512 * 7), vowel, fps=FPS, voice=None)
    assert np.allclose(whole.open, parts.open, atol=0.03)


def test_loudness_of_the_recording_does_not_matter(vowel: Prototypes) -> None:
    loud, quiet = (read_curves(pieces(voice(3.0) * gain), vowel, fps=FPS, voice=None) for gain in (1.0, 0.1))
    assert np.allclose(loud.open, quiet.open, atol=0.05)


@pytest.mark.parametrize("fps", [10.0, 25.0, 59.94])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 3.337])
def test_there_is_one_value_a_frame_for_as_long_as_the_sound(vowel: Prototypes, fps: float, seconds: float) -> None:
    curves = read_curves(pieces(voice(seconds)), vowel, fps=fps, voice=None)
    assert len(curves) == len(curves.width) == max(1, round(seconds * fps))
    assert curves.sound_s == pytest.approx(seconds, abs=1e-3)


def test_lips_move_no_faster_than_lips(vowel: Prototypes) -> None:
    clicks = np.zeros(RATE * 3, np.float32)
    clicks[RATE : RATE + 800] = voice(1.0)[1600:2400] * 4
    curves = read_curves(pieces(clicks), vowel, fps=60.0, voice=None)
    assert np.diff(curves.open).max() <= 1 / (ATTACK_S * 60.0) + 1e-6


def test_windows_are_centred_where_they_say() -> None:
    frames = SoundFrames()
    sound = np.zeros(RATE, np.float32)
    sound[256 * 30 - 40 : 256 * 30 + 40] = 0.5
    levels = np.concatenate([frames.push(sound)[1], frames.finish()[1]])
    assert levels.argmax() == 30
    assert len(levels) >= RATE // 256


def test_a_file_that_is_no_prototypes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wrong.bin").write_bytes(b"x" * 1000)
    with pytest.raises(ConfigError, match="1000 bytes"):
        Prototypes(tmp_path / "wrong.bin")


def test_every_viseme_is_a_mouth() -> None:
    assert SHAPES.shape == (15, 2)
    assert (SHAPES[:, 0] >= 0).all()
    assert (np.abs(SHAPES) <= 1).all()

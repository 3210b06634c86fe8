"""The sounds of several films as one: each as long as its pictures, cross-faded where they are.

Stereo at 48 kHz, in pieces, flat in memory: what is kept is the end of a film for as long as a cross-fade lasts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from springtide.media.film_codecs import SOUND_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE = SOUND_RATE // 10  # samples: a tenth of a second


class Sounding(Protocol):
    """A film of which the sound is wanted."""

    @property
    def path(self) -> Path: ...
    @property
    def frames(self) -> int: ...
    @property
    def has_audio(self) -> bool: ...


def joined_sound(clips: Sequence[Sounding], fps: float, overlap: int) -> Iterator[NDArray[np.float32]]:
    """float32[2, samples] at 48 kHz. overlap: frames of each cross-fade, at equal power."""
    import numpy as np

    from springtide.media.audio import stream_stereo

    fade = round(overlap / fps * SOUND_RATE)
    angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)
    tail = np.zeros((2, 0), np.float32)
    frames = 0  # at which this film begins in the whole: by them, so that no rounding adds up
    for number, clip in enumerate(clips):
        is_last = number == len(clips) - 1
        begun = round(frames / fps * SOUND_RATE)
        frames += clip.frames - (0 if is_last else overlap)
        end = round(frames / fps * SOUND_RATE) - begun + (0 if is_last else fade)
        samples = _Samples(stream_stereo(clip.path, SOUND_RATE) if clip.has_audio else iter(()))
        if number and fade:
            head = samples.take(fade)
            yield tail * np.cos(angle) + head * np.sin(angle)
        left = end - (fade if number else 0) - (0 if is_last else fade)
        while left > 0:
            piece = samples.take(min(left, _PIECE))
            left -= piece.shape[1]
            yield piece
        tail = np.zeros((2, 0), np.float32) if is_last else samples.take(fade)


class _Samples:
    """A film's sound, taken in the lengths that are asked for; silence after its end."""

    def __init__(self, pieces: Iterator[NDArray[np.float32]]) -> None:
        import numpy as np

        self._pieces = pieces
        self._held = np.zeros((2, 0), np.float32)

    def take(self, count: int) -> NDArray[np.float32]:
        import numpy as np

        parts, have = [self._held], self._held.shape[1]
        while have < count:
            piece = next(self._pieces, None)
            if piece is None:
                piece = np.zeros((2, count - have), np.float32)
            parts.append(piece)
            have += piece.shape[1]
        whole = np.concatenate(parts, axis=1)
        self._held = whole[:, count:]
        return whole[:, :count]

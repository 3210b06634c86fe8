"""Sound or a film made as loud as others are (EBU R 128): measured first, then set. On the processor, with no weights.

Promises the asked loudness within a tenth of a LU where a plain gain does it, within half a one where peaks have to be
held down; peaks under the limit (AAC and Opus may add a few tenths of a decibel); and a film's pictures taken over as
they are, packet by packet.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, Field

from springtide.engines.made import Made
from springtide.engines.media.films import MAX_FILM_S, MAX_FRAME_PIXELS, Step
from springtide.engines.protocol import Engine, InputFile, InvalidInput, Media, OutputFile, Progress
from springtide.media.film_codecs import SOUND_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# CPU seconds for a minute of stereo (docs/engines/media.md), between a plain gain (1.9) and a limiter (4.0).
PER_MINUTE_S = 2.5


class Format(StrEnum):
    """File format of sound; a film keeps its own."""

    M4A = "m4a"
    WAV = "wav"
    FLAC = "flac"


class Input(BaseModel):
    """Sound, alone or of a film, and how loud it is wanted."""

    audio: Annotated[
        InputFile,
        Media("audio/*, video/*", max_pixels=MAX_FRAME_PIXELS, max_duration_s=MAX_FILM_S, needs_audio=True),
    ] = Field(description="Sound, or a film with sound.")
    lufs: float = Field(
        default=-14.0,
        ge=-36,
        le=-8,
        description="Integrated loudness, LUFS: -14 on the web, -23 on European television.",
    )
    true_peak_db: float = Field(default=-1.0, ge=-9, le=0, description="Highest peak, dBTP.")
    format: Format = Field(default=Format.M4A, description="Of sound; a film stays what it is.")


class Output(Made):
    """The sound or film, and how loud it was and is. Silence has no loudness."""

    result: Annotated[OutputFile, Media("audio/mp4, audio/wav, audio/flac, video/mp4, video/webm, video/quicktime")] = (
        Field(description="The sound, or the film with it.")
    )
    lufs_before: float | None = Field(description="Integrated loudness of the input, LUFS.")
    lufs: float | None = Field(description="Of the result.")
    true_peak_db: float | None = Field(description="Highest peak of the result, dBTP.")
    range_lu: float = Field(description="Loudness range of the input, LU.")
    origin: str | None = Field(default=None, description="The mark of origin it carries on, where the input had one.")


class _Container(NamedTuple):
    suffix: str
    media_type: str
    encoder: str


_SOUNDS = {
    Format.M4A: _Container(".m4a", "audio/mp4", "aac"),
    Format.WAV: _Container(".wav", "audio/wav", "pcm_s16le"),
    Format.FLAC: _Container(".flac", "audio/flac", "flac"),
}
_FILMS = {  # by the codec of the pictures, which are taken over
    **dict.fromkeys(("h264", "hevc", "mpeg4", "av1"), _Container(".mp4", "video/mp4", "aac")),
    **dict.fromkeys(("vp8", "vp9"), _Container(".webm", "video/webm", "libopus")),
    "prores": _Container(".mov", "video/quicktime", "pcm_s16le"),
}


class LoudnessNormalization(Engine[Input, Output]):
    """Makes sound as loud as asked."""

    title = "Loudness"
    description = "Sound, alone or of a film, as loud as asked (EBU R 128, LUFS), its peaks held under a limit."
    license = "Apache-2.0"
    commercial_use = True
    stages = ("measure", "write", "check")
    preload = ("numpy", "springtide.media.film", "springtide.media.loudness")

    def load(self) -> None:
        """Nothing to load."""

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.media.loudness import leveling, measure

        step, passes = Step(self, "loudness"), _Passes(progress, inputs.audio)
        source = inputs.audio.path
        before = measure(passes.read(source, "measure", begin=0.0, end=0.3))
        done = leveling(
            lambda: passes.read(source, "measure", begin=0.3, end=0.5),
            before,
            lufs=inputs.lufs,
            true_peak_db=inputs.true_peak_db,
        )
        pieces = done.apply(passes.read(source, "write", begin=0.5, end=0.8))
        file = _written(source, progress.folder, pieces, inputs.format)
        after = measure(passes.read(file.path, "check", begin=0.8, end=0.99))
        is_film = file.media_type.startswith("video/")
        return Output(
            result=file,
            lufs_before=None if before.is_silent else round(before.lufs, 2),
            lufs=None if after.is_silent else round(after.lufs, 2),
            true_peak_db=round(after.true_peak_db, 2) if math.isfinite(after.true_peak_db) else None,
            range_lu=round(before.range_lu, 2),
            origin=step.carry(source, file.path, action="c2pa.edited") if is_film else None,
            **step.made().model_dump(),
        )

    def estimate(self, inputs: Input) -> float:
        return 0.2 + (inputs.audio.duration_s or 60.0) / 60 * PER_MINUTE_S


class _Passes:
    """Progress over several readings of one sound, some of which may be repeated: it never goes back."""

    def __init__(self, progress: Progress, file: InputFile) -> None:
        self._progress = progress
        self._samples = max(1.0, (file.duration_s or 60.0) * SOUND_RATE)
        self._said = 0.0

    def read(self, path: Path, stage: str, *, begin: float, end: float) -> Iterator[NDArray[np.float32]]:
        """The sound's pieces; reading them takes the whole job from `begin` to `end`."""
        from springtide.media.audio import stream_stereo

        samples = 0
        for piece in stream_stereo(path):
            self._said = max(self._said, begin + (end - begin) * min(1.0, samples / self._samples))
            self._progress(self._said, stage)
            samples += piece.shape[1]
            yield piece


def _written(source: Path, folder: Path, pieces: Iterator[NDArray[np.float32]], format_: Format) -> OutputFile:
    """The new file: the film's pictures with the new sound, or the sound alone. Raises InvalidInput for a film whose
    pictures no container here takes."""
    import av

    from springtide.media.containers import opened, video_of
    from springtide.media.film_remux import copied
    from springtide.media.film_sound import SoundTrack

    with opened(source) as given:
        pictures = video_of(given)
        if pictures is None:
            form = _SOUNDS[format_]
        elif pictures.codec_context.name in _FILMS:
            form = _FILMS[pictures.codec_context.name]
        else:
            message = f"the film's pictures are {pictures.codec_context.name}: transcode it first"
            raise InvalidInput(message, errors=[{"loc": "audio", "message": message}])
        path = folder / f"leveled{form.suffix}"
        options = {"movflags": "+faststart"} if form.suffix in (".mp4", ".mov", ".m4a") else {}
        with av.open(str(path), "w", options=options) as new:
            packets = copied(given, pictures, new) if pictures is not None else iter(())
            sound = SoundTrack(new, pieces, encoder=form.encoder)
            for packet, time_s in packets:
                new.mux(packet)
                sound.mux_until(time_s)
            sound.mux_until(None)
    return OutputFile(path=path, media_type=form.media_type)

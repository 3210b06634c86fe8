"""What goes to a digital-human service and what comes back: a voice as WAV, a photo as a film, a film that is whole."""

from __future__ import annotations

import wave
from pathlib import Path

import msgspec

from springtide.domain.errors import BadMedia

VOICE_RATE = 44_100  # the service makes 16 kHz of it for itself, and may put the voice as it came into the result
STILL_S = 2.0  # of film made from a photo: the service repeats it while the voice lasts
STILL_FPS = 25.0
STILL_SIDE = 1920  # longest side of such a film
STILL_CRF = 14  # the service encodes it once more


class WholeFilm(msgspec.Struct, frozen=True):
    """What a film is."""

    width: int
    height: int
    fps: float
    frames: int


def write_voice(source: Path, target: Path) -> None:
    """The first audio track of any file as 16-bit mono WAV. Raises BadMedia."""
    from springtide.media.audio import stream_pcm

    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(VOICE_RATE)
        for piece in stream_pcm(source, VOICE_RATE):
            file.writeframes((piece.clip(-1, 1) * 32767).astype("<i2").tobytes())


def write_still(source: Path, target: Path) -> None:
    """A photo as a short film, upright. Raises BadMedia."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    from springtide.media.film import FilmWriter

    try:
        with Image.open(source) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise BadMedia(f"The picture cannot be read: {error}.", code="broken_media") from error
    upright.thumbnail((STILL_SIDE, STILL_SIDE))
    pixels = np.asarray(upright)
    height, width = pixels.shape[:2]
    with FilmWriter(target, width=width, height=height, fps=STILL_FPS, crf=STILL_CRF) as film:
        for _ in range(round(STILL_S * STILL_FPS)):
            film.write(pixels)


def whole_film(path: Path) -> WholeFilm:
    """The film at `path`. Raises BadMedia where it is none, or its index lists frames that are not in the file."""
    from springtide.media.containers import opened, video_of
    from springtide.media.film import opened_film

    with opened_film(path) as film:
        width, height, fps = film.width, film.height, film.fps
        next(film.frames(), None)
    with opened(path) as container:
        tracks = [stream for stream in container.streams if stream.type in {"video", "audio"}]
        found = dict.fromkeys((stream.index for stream in tracks), 0)
        for packet in container.demux(tracks):
            found[packet.stream.index] += bool(packet.size and not packet.is_corrupt)
        for stream in tracks:
            if found[stream.index] < stream.frames:
                there = f"{found[stream.index]} of its {stream.frames} {stream.type} packets are there"
                raise BadMedia(f"The film is cut off: {there}.", code="broken_media")
        pictures = video_of(container)
        assert pictures is not None  # opened_film found one
        frames = found[pictures.index]
    return WholeFilm(width, height, fps, frames)


def write_poster(film: Path, target: Path) -> None:
    """The first frame of a film as JPEG. Raises BadMedia."""
    from PIL import Image

    from springtide.media.film import opened_film

    with opened_film(film) as opened:
        first = next(iter(opened.frames()))
    Image.fromarray(first).save(target, quality=90)


def label_film(path: Path) -> None:
    """Write the visible label on every frame, in its place. Raises BadMedia."""
    from springtide.engines.label import draw_label
    from springtide.media.film import FilmWriter, opened_film

    whole_film(path)
    labelled = path.with_name(f"labelled-{path.name}")
    with (
        opened_film(path) as film,
        FilmWriter(labelled, width=film.width, height=film.height, fps=film.fps, crf=18, sound=path) as new,
    ):
        for frame in film.frames(fps=film.fps):
            new.write(draw_label(frame))
    labelled.replace(path)

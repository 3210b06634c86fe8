"""What a digital human works with while it is loaded: networks, and the way from an input to a finished film."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from springtide.domain.errors import InvalidInput
from springtide.engines.faces.detect import FaceDetector
from springtide.engines.faces.mesh import FaceMesh
from springtide.engines.human.curves import Curves, read_curves
from springtide.engines.human.schema import Drive, Input
from springtide.engines.human.subject import Subject, filmed, fitted, photographed
from springtide.engines.human.visemes import RATE, Array, Prototypes
from springtide.engines.label import draw_label
from springtide.engines.speech.listening import CHUNK_S, VoiceDetector
from springtide.media.audio import stream_pcm, stream_stereo
from springtide.media.film import FilmWriter, opened_film
from springtide.media.images import open_rgb

PHOTO_FPS = 25.0
MOST_FPS = 60.0
USUAL_LONGER = 1280  # pixels: a result is as large as its input, but no larger than this unless it is asked for
SMALLEST_LONGER = 128
POSTER_QUALITY = 90


class Studio:
    """Loaded once, for one job after the other."""

    def __init__(self, weights_folder: Path, prototypes: Path) -> None:
        self._detector, self._mesh = FaceDetector(weights_folder), FaceMesh(weights_folder)
        self._prototypes = Prototypes(prototypes)
        self._voice = VoiceDetector()

    @contextmanager
    def subject(self, inputs: Input, *, longest_s: float) -> Generator[Subject]:
        """Who speaks. Raises BadMedia where nobody could."""
        if inputs.image is not None:
            picture = open_rgb(inputs.image.path)
            size = fitted(*picture.size, _longer(inputs, *picture.size))
            yield photographed(picture, self._detector, self._mesh, size=size, fps=inputs.fps or PHOTO_FPS)
            return
        assert inputs.video is not None  # the schema says so
        with opened_film(inputs.video.path, threads=1) as film:
            size = fitted(film.width, film.height, _longer(inputs, film.width, film.height))
            fps = inputs.fps or min(film.fps, MOST_FPS)
            yield filmed(film, self._detector, self._mesh, size=size, fps=fps, until_s=longest_s)

    def listen(self, inputs: Input, *, fps: float, longest_s: float, heard: Callable[[float], None]) -> Curves:
        """What the voice does to a mouth. heard: told how many seconds lie behind.
        Raises BadMedia where there is no sound, InvalidInput where it is longer than `longest_s`."""
        self._voice.reset()
        voice = self._voice if inputs.drive is Drive.VOICE else None
        return read_curves(_chunks(inputs.audio.path, longest_s, heard), self._prototypes, fps=fps, voice=voice)


def _longer(inputs: Input, width: int, height: int) -> int:
    return inputs.size or max(SMALLEST_LONGER, min(USUAL_LONGER, max(width, height)))


def _chunks(path: Path, longest_s: float, heard: Callable[[float], None]) -> Iterator[Array]:
    total = 0
    for samples in stream_pcm(path, RATE, CHUNK_S):
        total += len(samples)
        refuse_long(total / RATE, longest_s)
        yield samples
        heard(total / RATE)


def refuse_long(sound_s: float | None, longest_s: float) -> None:
    """Raises InvalidInput (`too_long`) that names the limit."""
    if sound_s is not None and sound_s > longest_s:
        message = (
            f"the audio is longer than {longest_s:g} s, which is `max_audio_s` in the settings of this model: send "
            "less, or ask the operator to raise it"
        )
        raise InvalidInput(message, code="too_long", errors=[{"loc": "audio", "message": message}])


class Target(NamedTuple):
    """Where a result goes, and how it is encoded."""

    video: Path
    poster: Path
    preset: str
    threads: int


def film_of(subject: Subject, curves: Curves, inputs: Input, target: Target) -> Iterator[float]:
    """Write the film and its poster; gives what part is done, frame by frame."""
    width, height = subject.size
    sound = stream_stereo(inputs.audio.path)
    with FilmWriter(
        target.video,
        width=width,
        height=height,
        fps=subject.fps,
        crf=inputs.crf,
        sound=sound,
        preset=target.preset,
        threads=target.threads,
    ) as film:
        for index, drawn in enumerate(subject.frames(curves, inputs)):
            frame = draw_label(drawn) if inputs.label else drawn
            if index == 0:
                Image.fromarray(frame).save(target.poster, quality=POSTER_QUALITY)
            film.write(frame)
            yield (index + 1) / len(curves)

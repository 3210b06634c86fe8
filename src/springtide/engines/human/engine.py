"""The digital human: a photo or a film of a face and a recorded voice become a lip-synced video, on the processor.

A renderer, no generative network: what the voice does to a mouth is read from the sound, and the picture's own lips,
jaw, lids and head are bent accordingly; only the inside of the mouth is painted. Faster than the video plays, and the
person stays who they are. The same input and seed give the same frames. Refuses pictures in which nobody could speak:
no face, one that is tiny, turned away or cut off. Whoever submits states that the people concerned consent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from springtide.engines.faces.models import FACE_WEIGHTS
from springtide.engines.faces.models import LICENSE as FACES_LICENSE
from springtide.engines.faces.models import PRELOAD as FACES_PRELOAD
from springtide.engines.human.schema import Drive, Input, Output
from springtide.engines.protocol import Engine, OutputFile, Progress, Weights
from springtide.engines.settings import ThreadedSettings, read_settings
from springtide.engines.weights import require

if TYPE_CHECKING:
    from springtide.engines.human.curves import Curves
    from springtide.engines.human.studio import Studio
    from springtide.engines.human.subject import Subject

PROTOTYPES = Weights(
    path="human/visemes-en-mixed.bin",
    sha256="0358f68989b5861f9b7d18871b010fa6cbf88a53bda4954a954d8c548bbcf251",
    bytes=14_352,
    recipe="visemes",
    license="MIT",
)
MODEL = "viseme prototypes of headaudio 0.1.0, BlazeFace and FaceMesh"
RENDERER = (
    "Rendered from the picture itself, without a generative network: lips, jaw, lids and head are bent, the inside of "
    "the mouth is painted."
)
SONG = " If it is song, send `drive`: `sound`."
LOOKED, LISTENED, RENDERED = 0.02, 0.08, 0.98  # parts of the work
ANNOUNCED_S = 60.0  # length of sound that the header does not tell, for the estimate

PHOTO_FPS, USUAL_LONGER = 25.0, 1280  # as in `studio`, which the gateway does not import

# Seconds on one core of the reference machine, fitted on the runs of docs/engines/digital-human.md.
FIXED_S = 0.3
PER_SOUND_S = 0.012
PER_FRAME_S = 0.0025
PER_MEGAPIXEL_FRAME_S = 0.030
PER_FILMED_FRAME_S = 0.016


class HumanSettings(ThreadedSettings):
    """The model's table in springtide.toml."""

    max_audio_s: float = Field(
        default=600.0,
        ge=1,
        le=4 * 3600,
        description="Longest voice that is taken, seconds; a job takes about half of it.",
    )
    preset: str = Field(
        default="veryfast",
        pattern=r"^(ultrafast|superfast|veryfast|faster|fast|medium|slow|slower)$",
        description="Preset of the H.264 encoder: slower ones give smaller files at the same quality.",
    )


class DigitalHuman(Engine[Input, Output]):
    """Makes a face say what a voice says."""

    title = "Digital human"
    description = "Makes the face of a photo or a film say what a recorded voice says, as an MP4."
    version = "digital-human-1"
    license = f"{FACES_LICENSE} and {PROTOTYPES.license}"
    commercial_use = True
    stages = ("look", "listen", "render", "mark")
    preload = (*FACES_PRELOAD, "av", "faster_whisper.utils", "springtide.engines.human.studio")
    example: ClassVar[Mapping[str, Any]] = {
        "image": "portrait.jpg",
        "audio": "speech.ogg",
        "consent": "A public-domain portrait of NASA's, for measuring.",
    }
    weights = (*FACE_WEIGHTS, PROTOTYPES)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(HumanSettings, settings, engine="digital-human")
        self._studio: Studio | None = None

    def load(self) -> None:
        from springtide.engines.human.studio import Studio

        require(type(self), self.weights_folder)
        self._studio = Studio(self.weights_folder, self.weights_folder / PROTOTYPES.path)

    def run(self, inputs: Input, progress: Progress) -> Output:
        from threadpoolctl import threadpool_limits

        from springtide.engines.human.studio import Target, film_of, refuse_long
        from springtide.engines.provenance import Kind, mark

        if self._studio is None:
            raise RuntimeError("load() comes before run()")
        began_s = time.monotonic()
        longest_s = self.options.max_audio_s
        video, poster = progress.folder / "video.mp4", progress.folder / "poster.jpg"
        progress(0.0, "look")
        refuse_long(inputs.audio.duration_s, longest_s)
        # Equations of a hundred unknowns, many a second: more threads of NumPy take three times the processor time.
        with threadpool_limits(1, "blas"), self._studio.subject(inputs, longest_s=longest_s) as subject:
            progress(LOOKED, "listen")
            sound_s = inputs.audio.duration_s or ANNOUNCED_S

            def heard(at_s: float) -> None:
                progress(LOOKED + (LISTENED - LOOKED) * min(1.0, at_s / sound_s), "listen")

            curves = self._studio.listen(inputs, fps=subject.fps, longest_s=longest_s, heard=heard)
            target = Target(video, poster, preset=self.options.preset, threads=self.options.thread_count)
            for done in film_of(subject, curves, inputs, target):
                progress(LISTENED + (RENDERED - LISTENED) * done, "render")
        progress(RENDERED, "mark")
        output = self._output(inputs, subject, curves, progress, began_s=began_s)
        for path in (video, poster):
            mark(path, made=output, kind=Kind.COMPOSITE, title=self.title, consent=inputs.consent)
        return output

    def _output(self, inputs: Input, subject: Subject, curves: Curves, progress: Progress, *, began_s: float) -> Output:
        return Output(
            video=OutputFile(path=progress.folder / "video.mp4", media_type="video/mp4"),
            poster=OutputFile(path=progress.folder / "poster.jpg", media_type="image/jpeg"),
            width=subject.size[0],
            height=subject.size[1],
            fps=round(subject.fps, 3),
            frames=len(curves),
            audio_s=round(curves.sound_s, 3),
            speech_found=curves.voiced,
            faces_found=subject.faces_found,
            frames_without_face=subject.frames_without_face,
            notes=_notes(inputs, subject, curves),
            **self.made(began_s, engine="digital-human", model=MODEL),
        )

    def estimate(self, inputs: Input) -> float:
        given = inputs.image or inputs.video
        assert given is not None  # the schema says so
        width, height = given.width or USUAL_LONGER, given.height or USUAL_LONGER
        longer = inputs.size or min(USUAL_LONGER, max(width, height))
        megapixels = width * height * (longer / max(width, height)) ** 2 / 1e6
        sound_s = inputs.audio.duration_s or ANNOUNCED_S
        frame_s = PER_FRAME_S + PER_MEGAPIXEL_FRAME_S * megapixels + (PER_FILMED_FRAME_S if inputs.video else 0.0)
        return FIXED_S + sound_s * (PER_SOUND_S + (inputs.fps or PHOTO_FPS) * frame_s)

    def features(self, inputs: Input) -> dict[str, float]:
        given = inputs.image or inputs.video
        assert given is not None  # the schema says so
        sound_s = inputs.audio.duration_s or ANNOUNCED_S
        pixels = (given.width or USUAL_LONGER) * (given.height or USUAL_LONGER)
        return {"sound_s": sound_s, "frames": sound_s * (inputs.fps or PHOTO_FPS), "pixels": float(pixels)}


def _notes(inputs: Input, subject: Subject, curves: Curves) -> list[str]:
    notes = [RENDERER]
    if subject.faces_found > 1:
        notes.append(f"{subject.faces_found} faces are seen; the largest one speaks.")
    if not curves.voiced:
        notes.append("No speech is heard: the mouth stays closed." + (SONG if inputs.drive is Drive.VOICE else ""))
    if subject.frames_without_face:
        notes.append(f"{subject.frames_without_face} frames show no face from the front and are as they were filmed.")
    return notes

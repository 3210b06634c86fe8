"""Speech recognition with Whisper: base (multilingual, int8) as the standard, tiny.en as the fast tier.

Only stretches in which somebody speaks reach the model, each at most half a minute long, so silence yields no invented
words and memory does not grow with the recording; several are written down at once. What is done is left as a
checkpoint: another attempt goes on behind the last piece. Any other faster-whisper model is a setting.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Engine, InvalidInput, Progress, Weights
from springtide.engines.settings import ThreadedSettings, read_settings
from springtide.engines.speech.checkpoints import EVERY_S, Place, found, kept
from springtide.engines.speech.cuts import RATE, Span
from springtide.engines.speech.results import NOBODY, as_wished, inline, spoken, write_files
from springtide.engines.speech.schema import Input, Output, Quality
from springtide.engines.speech.transcriber import Transcriber, Wishes
from springtide.engines.weights import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.engines.speech.listening import Recording, VoiceDetector
    from springtide.engines.speech.model import Whisper

    _Pieces = Iterator[tuple[Span, NDArray[np.float32]]]

STANDARD_WEIGHTS = tuple(
    Weights(path=f"whisper-base/{name}", sha256=sha256, bytes=size, recipe="whisper-base", license="MIT")
    for name, size, sha256 in (
        ("model.bin", 145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
        ("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        ("tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
        ("vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
    )
)
FAST_WEIGHTS = tuple(
    Weights(path=f"whisper-tiny.en/{name}", sha256=sha256, bytes=size, recipe="whisper-tiny-en", license="MIT")
    for name, size, sha256 in (
        ("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        ("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        ("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
        ("vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
    )
)
SURELY = 0.5  # a language other than English from here on is too much for the fast tier
# One thread for each piece needs a seventh less processor time than two threads for one; each piece takes 40 MB.
MOST_AT_ONCE = 8

LOAD_AND_DETECT_S = 0.4
PER_SECOND_S = {Quality.STANDARD: 0.09, Quality.FAST: 0.05}  # of audio, two cores (docs/engines/speech.md)


class WhisperSettings(ThreadedSettings):
    """Settings of the speech engine."""

    model_dir: str | None = Field(default=None, description="A faster-whisper model folder instead of Whisper base.")
    fast_model_dir: str | None = Field(default=None, description="The same instead of tiny.en, for the fast tier.")
    model_license: str | None = Field(
        default=None, description="Licence of the models in those folders, told with each result."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the model runs: on a GPU where CTranslate2 finds one, else the processor."
    )
    compute_type: str | None = Field(
        default=None, description="CTranslate2 compute type; int8 on the processor and float16 on a GPU where absent."
    )
    beam_size: int = Field(default=5, ge=1, le=10, description="Beams of the search; 1 is fastest.")
    at_once: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Pieces of a recording in flight, which share the threads; one for each, at most 8, where absent.",
    )
    window: Literal["fitted", "whole"] = Field(
        default="fitted",
        description="What the model encodes of a piece: as much as it is long, or always half a minute: half as fast.",
    )


class WhisperSpeech(Engine[Input, Output]):
    """Writes down what is said."""

    title = "Speech recognition"
    description = "Writes down what is said in a recording or video, with times and subtitles."
    version = "2"
    license = "MIT"
    commercial_use = True
    stages = ("listen", "transcribe", "write")
    preload = ("numpy", "onnxruntime", "ctranslate2", "faster_whisper", "av", "springtide.media.audio")
    weights = STANDARD_WEIGHTS + FAST_WEIGHTS

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(WhisperSettings, settings, engine="speech")
        if self.options.model_dir is not None:
            self.license, self.commercial_use = self.options.model_license or "unknown", None
            self.weights = FAST_WEIGHTS
        if self.options.fast_model_dir is not None:
            self.weights = tuple(one for one in self.weights if one not in FAST_WEIGHTS)
        self._models: dict[Quality, Whisper] = {}
        self._detector: VoiceDetector | None = None

    def load(self) -> None:
        import numpy as np

        from springtide.engines.speech.listening import VoiceDetector

        self._model(Quality.STANDARD).language_of(np.zeros(RATE, np.float32))  # the first run is the slowest
        self._detector = VoiceDetector()

    def run(self, inputs: Input, progress: Progress) -> Output:
        if self._detector is None:
            raise RuntimeError("load() comes before run()")
        began = time.monotonic()
        progress(0.0, "listen")
        language = self._given_language(inputs)
        made_by = self._made_by(inputs)
        place = found(progress.checkpoint, made_by=made_by)
        recording, place, notes = self._write_down(inputs, language, place, progress, made_by=made_by)
        progress(0.99, "write")
        segments = as_wished(place.segments, itn=inputs.itn, script=inputs.script)
        files = write_files(progress.folder, segments)
        languages = spoken(segments)
        shown, text, note = inline(segments, recording.heard_s)
        notes += [one for one in (note, None if segments else NOBODY) if one]
        return Output(
            text=text,
            language=languages[0].language if languages else None,
            languages=languages,
            duration_s=round(recording.heard_s, 3),
            speech_found=bool(segments),
            note=" ".join(notes) or None,
            segments=shown,
            **files,
            engine="whisper",
            model=self._model_name(inputs.quality),
            version=self.version,
            license=self._license(inputs.quality),
            generative=self.generative,
            seconds=round(time.monotonic() - began, 3),
        )

    def estimate(self, inputs: Input) -> float:
        return LOAD_AND_DETECT_S + (inputs.audio.duration_s or 60.0) * PER_SECOND_S[inputs.quality]

    def features(self, inputs: Input) -> dict[str, float]:
        return {"sound_s": inputs.audio.duration_s or 60.0}

    def _write_down(
        self, inputs: Input, language: str | None, place: Place, progress: Progress, *, made_by: str
    ) -> tuple[Recording, Place, list[str]]:
        from springtide.engines.speech.listening import Recording

        assert self._detector is not None
        model = self._model(inputs.quality)
        hotwords = model.fitting_hotwords(inputs.hotwords)
        notes = [] if len(hotwords) == len(inputs.hotwords) else [_too_many(len(hotwords), len(inputs.hotwords))]
        wishes = Wishes(
            language="en" if inputs.quality is Quality.FAST else language,
            hotwords=" ".join(hotwords) or None,
            prompt=model.fitting_prompt(inputs.prompt),
            word_times=inputs.word_times,
            beam_size=self.options.beam_size,
        )
        told = _Told(progress, inputs.audio.duration_s or _announced_s(inputs.audio.path))
        recording = Recording(inputs.audio.path, self._detector, heard=told.listened)
        pieces = _behind(place.end, recording.pieces(), told.begun)
        if inputs.quality is Quality.FAST and language is None:
            pieces = self._in_english(pieces)
        saved_s = time.monotonic()
        transcriber = Transcriber(model, wishes, at_once=self._at_once)
        for piece in transcriber.written(pieces, heard=place.heard, tick=told.again):
            place = Place(piece.span.end, piece.heard, (*place.segments, *piece.segments))
            due = time.monotonic() - saved_s >= EVERY_S
            told.written(place.end / RATE, kept(place, made_by=made_by) if due else None)
            saved_s = time.monotonic() if due else saved_s
        return recording, place, notes

    def _in_english(self, pieces: _Pieces) -> _Pieces:
        """The pieces, if the first of them is in English. Raises InvalidInput otherwise."""
        for number, (span, samples) in enumerate(pieces):
            if number == 0:
                language, probability = self._model(Quality.STANDARD).language_of(samples)
                if language != "en" and probability >= SURELY:
                    raise _wrong_language(
                        f"The recording is in {language!r} (probability {probability:.2f}), and the fast tier knows "
                        "English only: leave `quality` at standard, or set `language` to en if it is English.",
                        language,
                    )
            yield span, samples

    def _given_language(self, inputs: Input) -> str | None:
        language = None if inputs.language == "auto" else inputs.language
        if inputs.quality is Quality.FAST and language not in {None, "en"}:
            raise _wrong_language(
                f"The fast tier knows English only, not {language!r}: leave `quality` at standard for it.", language
            )
        if language is not None and language not in self._model(Quality.STANDARD).supported_languages:
            raise _wrong_language(f"this model does not know the language {language!r}", language)
        return language

    def _model(self, quality: Quality) -> Whisper:
        """Loaded when it is first needed: most installations never use the fast tier."""
        if quality not in self._models:
            from springtide.engines.speech.model import Whisper

            given = self.options.model_dir if quality is Quality.STANDARD else self.options.fast_model_dir
            if given is None:
                require(
                    type(self), self.weights_folder, STANDARD_WEIGHTS if quality is Quality.STANDARD else FAST_WEIGHTS
                )
            folder = given or str(self.weights_folder / self._model_name(quality))
            device = _device(self.options.device)
            try:
                self._models[quality] = Whisper(
                    folder,
                    fitted=self.options.window == "fitted",
                    device=device,
                    compute_type=self.options.compute_type or ("float16" if device == "cuda" else "int8"),
                    cpu_threads=max(1, self.options.thread_count // self._at_once),
                    num_workers=self._at_once,
                    local_files_only=True,
                )
            except (RuntimeError, ValueError, OSError) as error:
                raise ConfigError(f"{folder} cannot be loaded as a faster-whisper model: {error}") from error
        return self._models[quality]

    @property
    def _at_once(self) -> int:
        return self.options.at_once or min(MOST_AT_ONCE, self.options.thread_count)

    def _model_name(self, quality: Quality) -> str:
        given = self.options.model_dir if quality is Quality.STANDARD else self.options.fast_model_dir
        return Path(given).name if given else "whisper-base" if quality is Quality.STANDARD else "whisper-tiny.en"

    def _license(self, quality: Quality) -> str:
        given = self.options.model_dir if quality is Quality.STANDARD else self.options.fast_model_dir
        return (self.options.model_license or "unknown") if given else type(self).license

    def _made_by(self, inputs: Input) -> str:
        """Equal for attempts that would write the same: a checkpoint of any other is not gone on from."""
        wishes = inputs.model_dump_json(exclude={"audio", "itn", "script"})
        model = self._model_name(inputs.quality)
        return hashlib.sha256(f"{self.version} {model} {self.options.beam_size} {wishes}".encode()).hexdigest()[:32]


class _Told:
    """Progress by the time of the sound that lies behind: silence, or speech that has been written down."""

    def __init__(self, progress: Progress, length_s: float) -> None:
        self._progress = progress
        self._length_s = length_s
        self._at_s = self._listened_s = 0.0
        self._in_flight = 0
        self._stage = "listen"

    def listened(self, at_s: float) -> None:
        """Everything before is silence, or was given out."""
        self._listened_s = at_s
        if not self._in_flight:
            self._at_s, self._stage = max(self._at_s, at_s), "listen"
        self.again()

    def begun(self) -> None:
        """A piece was given out."""
        self._in_flight += 1

    def written(self, end_s: float, checkpoint: bytes | None) -> None:
        """The oldest piece given out is done."""
        self._in_flight -= 1
        self._at_s = max(self._at_s, end_s, 0.0 if self._in_flight else self._listened_s)
        self._stage = "transcribe"
        self._progress(self._fraction, self._stage, checkpoint=checkpoint)

    def again(self) -> None:
        """Nothing new, but a place for a cancel to take effect."""
        self._progress(self._fraction, self._stage)

    @property
    def _fraction(self) -> float:
        return min(0.98, self._at_s / self._length_s) if self._length_s else 0.0


def _behind(end: int, pieces: _Pieces, begun: Callable[[], None]) -> _Pieces:
    for span, samples in pieces:
        if span.start >= end:
            begun()
            yield span, samples


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _too_many(used: int, given: int) -> str:
    return f"Only the first {used} of the {given} hotwords fit into what the model can hold."


def _wrong_language(message: str, language: Any) -> InvalidInput:
    return InvalidInput(message, errors=[{"loc": "language", "message": message, "value": language}])


def _announced_s(path: Path) -> float:
    """Length as the container says it, seconds; 0 where it does not."""
    from springtide.media.containers import opened

    with opened(path) as container:
        return (container.duration or 0) / 1e6

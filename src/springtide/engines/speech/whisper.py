"""Speech recognition with Whisper base (multilingual, int8) on the processor.

Only stretches in which somebody speaks reach the model, each at most half a minute long, so silence yields no invented
words and memory does not grow with the recording. The language is found from the first speech unless it is given.
Mandarin is written in simplified characters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from springtide.domain.errors import ConfigError
from springtide.engines.protocol import Engine, InvalidInput, OutputFile, Progress, Weights
from springtide.engines.settings import ThreadedSettings, read_settings
from springtide.engines.speech.cuts import RATE, Span
from springtide.engines.speech.schema import Input, Output, Segment, Word
from springtide.engines.speech.subtitles import to_srt, to_vtt
from springtide.engines.weights import require

if TYPE_CHECKING:
    import numpy as np
    from faster_whisper import WhisperModel
    from numpy.typing import NDArray

    from springtide.engines.speech.listening import VoiceDetector

_LICENSE = "MIT"
WEIGHTS = tuple(
    Weights(path=f"whisper-base/{name}", sha256=sha256, bytes=size, recipe="whisper-base", license=_LICENSE)
    for name, size, sha256 in (
        ("model.bin", 145_217_532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
        ("config.json", 2_309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a"),
        ("tokenizer.json", 2_203_239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab"),
        ("vocabulary.txt", 459_861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913"),
    )
)
MANDARIN_PROMPT = "以下是普通话的句子。"  # without it Whisper writes traditional characters
UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})  # languages written without spaces
SURE = 0.5  # a language heard with this probability is kept for the rest of the recording
UNLIKELY_SPEECH = 0.8  # above this `no_speech_prob`, text with a low probability is the model's invention
LOW_LOGPROB = -1.0
INLINE_WORDS_S = 900.0  # words of longer recordings are in the JSON file only: a job's own JSON ends at 1 MiB

LOAD_AND_DETECT_S = 0.5
PER_SECOND_S = 0.15  # of audio, two cores (docs/engines/speech.md)


class WhisperSettings(ThreadedSettings):
    """Settings of the speech engine."""

    model_dir: str | None = Field(default=None, description="A faster-whisper model folder instead of the base model.")
    compute_type: str = Field(default="int8", description="CTranslate2 compute type.")
    beam_size: int = Field(default=5, ge=1, le=10, description="Beams of the search; 1 is fastest.")


class WhisperSpeech(Engine[Input, Output]):
    """Writes down what is said."""

    title = "Speech recognition"
    description = "Writes down what is said in a recording or video, with times and subtitles."
    version = "whisper-base-1"
    license = _LICENSE
    stages = ("listen", "transcribe", "write")
    preload = ("numpy", "onnxruntime", "ctranslate2", "faster_whisper", "av", "springtide.media.audio")
    weights = WEIGHTS

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(WhisperSettings, settings, engine="speech")
        self._model: WhisperModel | None = None
        self._detector: VoiceDetector | None = None

    def load(self) -> None:
        from faster_whisper import WhisperModel

        from springtide.engines.speech.listening import VoiceDetector

        if self.options.model_dir is None:
            require(type(self), self.weights_folder)
        folder = self.options.model_dir or str(self.weights_folder / "whisper-base")
        try:
            self._model = WhisperModel(
                folder,
                device="cpu",
                compute_type=self.options.compute_type,
                cpu_threads=self.options.thread_count,
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"{folder} cannot be loaded as a faster-whisper model: {error}") from error
        self._detector = VoiceDetector()

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.engines.speech.listening import Recording

        if self._detector is None:
            raise RuntimeError("load() comes before run()")
        began = time.monotonic()
        progress(0.0, "listen")
        length_s = inputs.audio.duration_s or _announced_s(inputs.audio.path)
        recording = Recording(inputs.audio.path, self._detector)
        known = None if inputs.language in {None, "auto"} else inputs.language
        language, segments = known, list[Segment]()
        for span, samples in recording.pieces():
            if known is None:
                language, probability = self._detect(samples)
                known = language if probability >= SURE else None
            assert language is not None
            for segment in self._transcribe(samples, span, language, inputs):
                segment.id = len(segments)
                segments.append(segment)
                progress(min(0.98, segment.end_s / length_s) if length_s else 0.0, "transcribe")
        progress(0.99, "write")
        text = ("" if language in UNSPACED else " ").join(segment.text for segment in segments)
        files = _write(progress.folder, text, language if segments else None, segments)
        if recording.heard_s > INLINE_WORDS_S:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        return Output(
            text=text,
            language=language if segments else None,
            duration_s=round(recording.heard_s, 3),
            speech_found=bool(segments),
            segments=segments,
            **files,
            engine=self.version,
            license=self.license,
            generative=self.generative,
            seconds=round(time.monotonic() - began, 3),
        )

    def estimate(self, inputs: Input) -> float:
        return LOAD_AND_DETECT_S + (inputs.audio.duration_s or 60.0) * PER_SECOND_S

    @property
    def _whisper(self) -> WhisperModel:
        if self._model is None:
            raise RuntimeError("load() comes before run()")
        return self._model

    def _detect(self, samples: NDArray[np.float32]) -> tuple[str, float]:
        language, probability, _ = self._whisper.detect_language(samples)
        return language, probability

    def _transcribe(self, samples: NDArray[np.float32], span: Span, language: str, inputs: Input) -> Iterator[Segment]:
        prompt = inputs.prompt or (MANDARIN_PROMPT if language == "zh" else None)
        try:
            found, _ = self._whisper.transcribe(
                samples,
                language=language,
                beam_size=self.options.beam_size,
                vad_filter=False,  # done, over the whole recording
                condition_on_previous_text=False,  # a mistake must not spread
                initial_prompt=prompt,
                hotwords=" ".join(inputs.hotwords) or None,
                word_timestamps=inputs.word_times,
            )
        except ValueError as error:  # a language this model does not know
            message = f"language {language!r}: {error}"
            raise InvalidInput(message, errors=[{"loc": "language", "message": message}]) from error
        offset_s, end_s = span.start / RATE, span.end / RATE
        for one in found:
            text = one.text.strip()
            if not text or (one.no_speech_prob > UNLIKELY_SPEECH and one.avg_logprob < LOW_LOGPROB):
                continue
            words = None
            if inputs.word_times:
                words = [
                    Word(
                        start_s=round(offset_s + word.start, 3),
                        end_s=round(min(offset_s + word.end, end_s), 3),
                        word=_simplified(word.word.strip(), language),
                        probability=round(word.probability, 3),
                    )
                    for word in one.words or []
                ]
            yield Segment(
                id=0,
                start_s=round(offset_s + one.start, 3),
                end_s=round(min(offset_s + one.end, end_s), 3),
                text=_simplified(text, language),
                words=words,
            )


def _write(folder: Path, text: str, language: str | None, segments: list[Segment]) -> dict[str, OutputFile]:
    (folder / "subtitles.srt").write_text(to_srt(segments), encoding="utf-8")
    (folder / "subtitles.vtt").write_text(to_vtt(segments), encoding="utf-8")
    document = {"text": text, "language": language, "segments": [one.model_dump(exclude_none=True) for one in segments]}
    (folder / "transcript.json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    return {
        "srt": OutputFile(path=folder / "subtitles.srt", media_type="application/x-subrip"),
        "vtt": OutputFile(path=folder / "subtitles.vtt", media_type="text/vtt"),
        "transcript": OutputFile(path=folder / "transcript.json", media_type="application/json"),
    }


def _simplified(text: str, language: str) -> str:
    return str(_traditional_to_simplified().convert(text)) if language == "zh" else text


@lru_cache(maxsize=1)
def _traditional_to_simplified() -> Any:
    from opencc import OpenCC

    return OpenCC("t2s")


def _announced_s(path: Path) -> float:
    """Length as the container says it, seconds; 0 where it does not."""
    from springtide.media.containers import opened

    with opened(path) as container:
        return (container.duration or 0) / 1e6

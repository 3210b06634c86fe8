"""Speech recognition with Whisper base (multilingual, int8) on the processor.

Only stretches in which somebody speaks reach the model, each at most half a minute long, so silence yields no invented
words and memory does not grow with the recording. Unless it is given, the language is found in every piece, and changes
only where the model is sure: one odd sound does not change it, another speaker does. Mandarin is written in simplified
characters.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
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
    from numpy.typing import NDArray

    from springtide.engines.speech.listening import VoiceDetector
    from springtide.engines.speech.model import Whisper

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
SURE = 0.8  # another language from here on: seconds of clear speech reach 0.9, misheard ones stay below 0.65
UNLIKELY_SPEECH = 0.8  # above this `no_speech_prob`, text with a low probability is the model's invention
LOW_LOGPROB = -1.0
UNHEARD_S = 2.0  # at the end of a piece: longer than any error of the model's times
INLINE_WORDS_S = 900.0  # words of longer recordings are in the JSON file only: a job's own JSON ends at 1 MiB

LOAD_AND_DETECT_S = 0.5
PER_SECOND_S = 0.18  # of audio, two cores (docs/engines/speech.md)


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
    commercial_use = True
    stages = ("listen", "transcribe", "write")
    preload = ("numpy", "onnxruntime", "ctranslate2", "faster_whisper", "av", "springtide.media.audio")
    weights = WEIGHTS

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(WhisperSettings, settings, engine="speech")
        self._model: Whisper | None = None
        self._detector: VoiceDetector | None = None

    def load(self) -> None:
        from springtide.engines.speech.listening import VoiceDetector
        from springtide.engines.speech.model import Whisper

        if self.options.model_dir is None:
            require(type(self), self.weights_folder)
        folder = self.options.model_dir or str(self.weights_folder / "whisper-base")
        try:
            self._model = Whisper(
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
        given = self._given_language(inputs)
        length_s = inputs.audio.duration_s or _announced_s(inputs.audio.path)

        def told(at_s: float, stage: str) -> None:
            progress(min(0.98, at_s / length_s) if length_s else 0.0, stage)

        recording = Recording(inputs.audio.path, self._detector, heard=lambda at_s: told(at_s, "listen"))
        heard = (given, 1.0) if given else None
        segments, languages = list[Segment](), list[str]()
        for span, samples in recording.pieces():
            heard = heard if given and heard else self._hear_language(samples, heard)
            for segment in self._transcribe(samples, span, heard[0], inputs):
                segment.id = len(segments)
                segments.append(segment)
                languages.append(heard[0])
                told(segment.end_s, "transcribe")
        progress(0.99, "write")
        text, main_language = joined(segments, languages), longest(segments, languages)
        files = _write(progress.folder, text, main_language, segments)
        if recording.heard_s > INLINE_WORDS_S:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        return Output(
            text=text,
            language=main_language,
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
    def _whisper(self) -> Whisper:
        if self._model is None:
            raise RuntimeError("load() comes before run()")
        return self._model

    def _given_language(self, inputs: Input) -> str | None:
        if inputs.language in {None, "auto"}:
            return None
        if inputs.language not in self._whisper.supported_languages:
            message = f"this model does not know the language {inputs.language!r}"
            raise InvalidInput(message, errors=[{"loc": "language", "message": message, "value": inputs.language}])
        return inputs.language

    def _hear_language(self, samples: NDArray[np.float32], before: tuple[str, float] | None) -> tuple[str, float]:
        """The language of this piece and how sure that is; the one `before` where this piece does not say."""
        found, probability = self._whisper.language_of(samples)
        return (found, probability) if before is None or probability >= min(SURE, before[1]) else before

    def _transcribe(self, samples: NDArray[np.float32], span: Span, language: str, inputs: Input) -> Iterator[Segment]:
        while True:
            end = span.start
            for one in self._decode(samples[span.start - span.end :], language, inputs):
                end = span.start + round(one.end * RATE)
                text = one.text.strip()
                if not text or (one.no_speech_prob > UNLIKELY_SPEECH and one.avg_logprob < LOW_LOGPROB):
                    continue
                start_s, end_s = _within(span, one.start, one.end)
                words = [_word(word, span, language) for word in one.words or []] if inputs.word_times else None
                yield Segment(id=0, start_s=start_s, end_s=end_s, text=_simplified(text, language), words=words)
            # A piece ends with speech: where the model stopped much earlier, the rest has not been written down.
            if end == span.start or span.end - end < UNHEARD_S * RATE:
                return
            span = Span(end, span.end)

    def _decode(self, samples: NDArray[np.float32], language: str, inputs: Input) -> Iterator[Any]:
        found, _ = self._whisper.transcribe(
            samples,
            language=language,
            beam_size=self.options.beam_size,
            vad_filter=False,  # done, over the whole recording
            condition_on_previous_text=False,  # a mistake must not spread
            initial_prompt=inputs.prompt or (MANDARIN_PROMPT if language == "zh" else None),
            hotwords=" ".join(inputs.hotwords) or None,
            word_timestamps=inputs.word_times,
        )
        yield from found


def joined(segments: Sequence[Segment], languages: Sequence[str]) -> str:
    """One text: segments apart by a space, but not where both are in a language written without."""
    text, before = "", None
    for segment, language in zip(segments, languages, strict=True):
        text += ("" if before is None or {before, language} <= UNSPACED else " ") + segment.text
        before = language
    return text


def longest(segments: Sequence[Segment], languages: Sequence[str]) -> str | None:
    """The language that is spoken longest."""
    spoken_s: dict[str, float] = {}
    for segment, language in zip(segments, languages, strict=True):
        spoken_s[language] = spoken_s.get(language, 0.0) + segment.end_s - segment.start_s
    return max(spoken_s, key=spoken_s.__getitem__, default=None)


def _word(word: Any, span: Span, language: str) -> Word:
    start_s, end_s = _within(span, word.start, word.end)
    text = _simplified(word.word.strip(), language)
    return Word(start_s=start_s, end_s=end_s, word=text, probability=round(float(word.probability), 3))


def _within(span: Span, start_s: float, end_s: float) -> tuple[float, float]:
    """Times in the piece as times in the recording: the model fills its half minute, and may point past the piece."""
    last_s = (span.end - span.start) / RATE
    offset_s = span.start / RATE
    start_s = min(max(0.0, start_s), last_s)
    return round(offset_s + start_s, 3), round(offset_s + min(max(start_s, end_s), last_s), 3)


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

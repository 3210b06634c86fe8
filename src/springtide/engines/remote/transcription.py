"""Speech recognition by any server with OpenAI's interface: `POST /v1/audio/transcriptions`, as OpenAI, vLLM, FunASR,
LocalAI and the faster-whisper servers have it.

The sound goes there as Opus or FLAC (a video's pictures stay here), the result is the one all speech engines give:
figures or words, characters, subtitles and files are made here, so they do not depend on the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from pydantic import Field

from springtide.domain.errors import InvalidInput
from springtide.engines.remote.engine import Call, Look, RemoteEngine
from springtide.engines.remote.service import ServiceSettings, malformed
from springtide.engines.speech.results import NOBODY, as_wished, inline, spoken, write_files
from springtide.engines.speech.schema import Input, Output, Quality, Segment, Word

PATH = "/audio/transcriptions"
RATE = 16_000  # all that speech models hear
OPUS_BITS_PER_S = 32_000  # transparent for 16 kHz speech; an hour is 14 MB
# The names that servers give in place of codes. Others are taken as they come.
CODES = {
    "english": "en", "chinese": "zh", "mandarin": "zh", "cantonese": "yue", "japanese": "ja", "korean": "ko",
    "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt", "russian": "ru",
    "arabic": "ar", "hindi": "hi", "dutch": "nl", "polish": "pl", "turkish": "tr", "ukrainian": "uk",
    "vietnamese": "vi", "thai": "th", "indonesian": "id", "swedish": "sv", "czech": "cs", "greek": "el",
}  # fmt: skip


class Form(StrEnum):
    """What the server is asked to answer with."""

    VERBOSE = "verbose_json"
    JSON = "json"
    TEXT = "text"


class Sent(StrEnum):
    """How the sound is sent."""

    OPUS = "opus"
    FLAC = "flac"


class TranscriptionSettings(ServiceSettings):
    """Settings of the openai-transcription engine. `url` ends where the interface begins, mostly in /v1."""

    model: str = Field(description="The model's name there, such as whisper-1.")
    fast_model: str | None = Field(default=None, description="The model for quality = fast; without one it is refused.")
    response_format: Form = Field(
        default=Form.VERBOSE, description="verbose_json has segments and times; json and text are for servers without."
    )
    sound: Sent = Field(default=Sent.OPUS, description="opus is small, flac exact; both are 16 kHz mono.")
    max_bytes: int | None = Field(
        default=None, ge=1, description="Largest file the server takes; OpenAI's own takes 25000000."
    )
    hotwords_field: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Form field that takes hot words, comma between; without one they go into the prompt.",
    )
    fields: dict[str, str] = Field(default={}, description="Further form fields, sent as they are.")
    read_timeout_s: float = Field(
        default=3600.0, gt=0, le=86_400, description="Longest wait for the answer, seconds: it comes when all is done."
    )
    license: str = Field(default="proprietary", description="Licence of the model there, told with each result.")


class Transcription(RemoteEngine[Input, Output]):
    """Writes down what is said, on a server with OpenAI's interface."""

    title = "Speech recognition (remote)"
    description = "Writes down what is said in a recording or video, on a server with OpenAI's interface elsewhere."
    version = "1"
    license = "proprietary"
    Settings = TranscriptionSettings
    options: TranscriptionSettings

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.license = self.options.license

    def submit(self, inputs: Input, call: Call) -> str:
        sound = call.folder / f"sound.{'ogg' if self.options.sound is Sent.OPUS else 'flac'}"
        if "length_s" not in call.kept:
            call.kept["length_s"] = _write_sound(inputs.audio.path, sound, self.options.sound)
            self._check_size(sound, call.kept["length_s"])
        call.say(0.05, "wait")
        with sound.open("rb") as file:
            answer = call.service.request(
                "POST", PATH, data=self._form(inputs), files={"file": (sound.name, file, _media_type(sound))}
            )
        call.kept["answer"] = (
            {"text": answer.text} if self.options.response_format is Form.TEXT else _object(answer.content)
        )
        return ""

    def look(self, name: str, inputs: Input, call: Call) -> Look:
        return Look(done=True, fraction=1.0)

    def fetch(self, name: str, inputs: Input, call: Call) -> Output:
        answer, length_s = call.kept["answer"], call.kept["length_s"]
        heard = _segments_of(answer, length_s=length_s, language=_given(inputs), word_times=inputs.word_times)
        segments = as_wished(heard, itn=inputs.itn, script=inputs.script)
        files = write_files(call.folder, segments)
        languages = spoken(segments)
        shown, text, note = inline(segments, length_s)
        return Output(
            text=text,
            language=languages[0].language if languages else None,
            languages=languages,
            duration_s=round(length_s, 3),
            speech_found=bool(segments),
            note=note or (None if segments else NOBODY),
            segments=shown,
            **files,
            engine="openai-transcription",
            model=self._model(inputs),
            version=self.version,
            license=self.license,
            generative=self.generative,
            seconds=round(call.seconds, 3),
        )

    def estimate(self, inputs: Input) -> float:
        return 1.0 + 0.05 * (inputs.audio.duration_s or 60.0)

    def _model(self, inputs: Input) -> str:
        if inputs.quality is Quality.STANDARD:
            return self.options.model
        if self.options.fast_model is None:
            message = "this service has no fast tier: leave `quality` at standard"
            raise InvalidInput(message, errors=[{"loc": "quality", "message": message, "value": "fast"}])
        return self.options.fast_model

    def _form(self, inputs: Input) -> dict[str, Any]:
        verbose = self.options.response_format is Form.VERBOSE
        granularities = ["segment", *(["word"] if inputs.word_times else [])]
        hot = ", ".join(inputs.hotwords)
        in_prompt = [hot] if hot and self.options.hotwords_field is None else []
        form: dict[str, Any] = {
            "model": self._model(inputs),
            "response_format": self.options.response_format.value,
            "language": _given(inputs),
            "prompt": " ".join([*in_prompt, *([inputs.prompt] if inputs.prompt else [])]) or None,
            "timestamp_granularities[]": granularities if verbose else None,
            **self.options.fields,
        }
        if hot and self.options.hotwords_field is not None:
            form[self.options.hotwords_field] = ",".join(inputs.hotwords)
        return {name: value for name, value in form.items() if value is not None}

    def _check_size(self, sound: Path, length_s: float) -> None:
        size = sound.stat().st_size
        if self.options.max_bytes is not None and size > self.options.max_bytes:
            message = (
                f"the {length_s / 60:,.0f} minutes of sound are {size:,} bytes as {self.options.sound.value}, and the "
                f"service takes at most {self.options.max_bytes:,}: cut the recording into parts"
            )
            raise InvalidInput(message, errors=[{"loc": "audio", "message": message}])


def _write_sound(source: Path, target: Path, kind: Sent) -> float:
    """The first audio track of any file, 16 kHz mono; its length in seconds. Raises BadMedia."""
    import av

    from springtide.media.audio import stream_pcm

    samples = 0
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libopus" if kind is Sent.OPUS else "flac", rate=RATE)
        stream.layout = "mono"
        if kind is Sent.OPUS:
            stream.bit_rate = OPUS_BITS_PER_S
        for piece in stream_pcm(source, RATE, chunk_s=10.0):
            pcm = (piece.clip(-1, 1) * 32767).astype("<i2")
            frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, samples
            samples += len(pcm)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return samples / RATE


def _segments_of(answer: dict[str, Any], *, length_s: float, language: str | None, word_times: bool) -> list[Segment]:
    """What a server answered as segments; one for all of it where it gives no times.

    Raises RetryableError (`remote_malformed`) for an answer without text, or with times that are none.
    """
    text = answer.get("text")
    if not isinstance(text, str):
        raise malformed(f"the answer holds no text: {json.dumps(answer, ensure_ascii=False)[:200]}")
    told = re.split(r"[-_]", str(answer.get("language") or language or "").lower())[0]  # zh-CN is zh
    code = CODES.get(told, told) or ("zh" if any("\u4e00" <= one <= "\u9fff" for one in text) else "en")
    try:
        given = msgspec.convert(answer.get("segments") or [], list[_Segment])
        words = msgspec.convert(answer.get("words") or [], list[_Word])
    except msgspec.ValidationError as error:
        raise malformed(f"the answer's segments or words are not as the interface says: {error}") from error
    whole = [_Segment(0.0, length_s, text)] if text.strip() else []
    found: list[Segment] = []
    for one in given or whole:
        if not one.text.strip():
            continue
        start_s = min(max(0.0, one.start), length_s)
        end_s = min(max(start_s, one.end), length_s)
        inside = [word for word in words if one.start - 0.01 <= word.start < one.end] if word_times else None
        found.append(
            Segment(
                id=len(found),
                start_s=round(start_s, 3),
                end_s=round(end_s, 3),
                text=one.text.strip(),
                language=code,
                words=None if inside is None else [_timed(word) for word in inside],
            )
        )
    return found


class _Segment(msgspec.Struct):
    start: float
    end: float
    text: str


class _Word(msgspec.Struct):
    start: float
    end: float
    word: str
    probability: float = 1.0


def _timed(word: _Word) -> Word:
    return Word(
        start_s=word.start, end_s=max(word.start, word.end), word=word.word.strip(), probability=word.probability
    )


def _given(inputs: Input) -> str | None:
    return None if inputs.language == "auto" else inputs.language


def _media_type(sound: Path) -> str:
    return "audio/ogg" if sound.suffix == ".ogg" else "audio/flac"


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise malformed(f"the answer is no JSON: {content[:200]!r}") from error
    if not isinstance(found, dict):
        raise malformed(f"the answer is no JSON object: {content[:200]!r}")
    return found

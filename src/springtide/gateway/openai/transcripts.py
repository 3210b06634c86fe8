"""A transcript in each of OpenAI's forms, from the outputs of whatever model listened.

The model gives text, segments with times, and files of subtitles; words of long recordings are in its `transcript`
file. What OpenAI's segments hold beyond that and nobody measured here is 0 or empty: `tokens`, `temperature`,
`avg_logprob` and `no_speech_prob`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from springtide.domain.job import Job
from springtide.domain.model import Model
from springtide.gateway.openai.parameters import LANGUAGES, flag, one_of, texts
from springtide.gateway.openai.references import wrong
from springtide.gateway.openai.uses import properties
from springtide.gateway.services import GatewayServices
from springtide.gateway.views import output_file

PLAIN = {"text": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt"}  # forms that are no JSON
FORMS = ("json", "text", "srt", "verbose_json", "vtt")
MAX_FILE_BYTES = 64 << 20  # of a transcript: four hours with the times of every word are 10 MB


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How the transcript is wanted."""

    form: str = "json"
    words: bool = False
    segments: bool = True
    stream: bool = False


async def result(services: GatewayServices, wish: Wish, job: Job) -> Any:
    """What the answer holds, as JSON: of a plain form its text."""
    return await (text_file(services, job, wish.form) if wish.form in PLAIN else json_body(services, job, wish))


async def text_file(services: GatewayServices, job: Job, form: str) -> str:
    """The transcript as `text`, `srt` or `vtt`. Raises NotFound where its file is gone."""
    ref = output_file(job, form)
    if form == "text" or ref is None:
        return f"{_text(job)}\n"
    data = b"".join([chunk async for chunk in services.blobs.read(ref.id)])
    return data.decode("utf-8", "replace")


async def json_body(services: GatewayServices, job: Job, wish: Wish) -> dict[str, Any]:
    """The transcript as `json` or `verbose_json`."""
    outputs = job.outputs or {}
    if wish.form == "json":
        return {"text": _text(job), "usage": _usage(outputs)}
    segments: list[dict[str, Any]] = outputs.get("segments") or []
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": LANGUAGES.get(outputs.get("language") or "", outputs.get("language") or "unknown"),
        "duration": _duration(outputs),
        "text": _text(job),
    }
    if wish.words:
        body["words"] = [_word(each) for each in await _words(services, job, segments)]
    if wish.segments:
        body["segments"] = [_segment(number, each) for number, each in enumerate(segments)]
    return {**body, "usage": _usage(outputs)}


def events(job: Job) -> list[tuple[str, dict[str, Any]]]:
    """The transcript as OpenAI's stream tells it: a delta for each segment, and all of it at the end."""
    segments: list[dict[str, Any]] = (job.outputs or {}).get("segments") or []
    text = _text(job)
    deltas = _deltas(text, [str(each["text"]).strip() for each in segments])
    told = [("transcript.text.delta", {"type": "transcript.text.delta", "delta": delta}) for delta in deltas]
    return [*told, ("transcript.text.done", {"type": "transcript.text.done", "text": text})]


def read_wish(model: Model, values: Mapping[str, Any]) -> Wish:
    """How the transcript is wanted. Raises InvalidInput for what cannot be given here."""
    if values.get("response_format") == "diarized_json":
        raise wrong("response_format", f"{model.name} does not tell speakers apart: no diarized_json")
    form = one_of(values, "response_format", FORMS, "json")
    if form in ("srt", "vtt") and form not in model.output_files:
        raise wrong("response_format", f"{model.name} gives no {form}")
    if texts(values, "include"):
        raise wrong("include", f"{model.name} gives no {', '.join(texts(values, 'include'))[:64]}")
    granularities = texts(values, "timestamp_granularities")
    unknown = [each for each in granularities if each not in ("word", "segment")]
    if unknown:
        raise wrong("timestamp_granularities", f"must be word or segment, not {unknown[0][:64]!r}")
    if granularities and form != "verbose_json":
        raise wrong("timestamp_granularities", "needs response_format=verbose_json")
    words = "word" in granularities
    if words and "word_times" not in properties(model):
        raise wrong("timestamp_granularities", f"{model.name} gives no times of words")
    return Wish(form=form, words=words, segments=not words or "segment" in granularities, stream=flag(values, "stream"))


def _deltas(text: str, pieces: Sequence[str]) -> list[str]:
    """`text` cut where its segments begin, so that the deltas put together are the text."""
    deltas: list[str] = []
    at = 0
    for piece in pieces[1:]:
        found = text.find(piece, at) if piece else -1
        if found > at:
            deltas.append(text[at:found])
            at = found
    return [*deltas, text[at:]] if text else []


async def _words(services: GatewayServices, job: Job, segments: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if any(each.get("words") for each in segments):
        return [word for each in segments for word in each.get("words") or ()]
    ref = output_file(job, "transcript")
    if ref is None or ref.bytes > MAX_FILE_BYTES:
        return []
    data = b"".join([chunk async for chunk in services.blobs.read(ref.id)])
    whole = msgspec.json.decode(data)
    return [word for each in whole.get("segments", ()) for word in each.get("words") or ()]


def _text(job: Job) -> str:
    return str((job.outputs or {}).get("text") or "")


def _duration(outputs: dict[str, Any]) -> float:
    return float(outputs.get("duration_s") or 0.0)


def _usage(outputs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(_duration(outputs), 3)}


def _word(word: dict[str, Any]) -> dict[str, Any]:
    return {"word": str(word["word"]).strip(), "start": word["start_s"], "end": word["end_s"]}


def _segment(number: int, segment: dict[str, Any]) -> dict[str, Any]:
    text = str(segment["text"])
    data = text.encode()
    return {
        "id": number,
        "seek": int(segment["start_s"] * 100),  # frames of 10 ms, as Whisper counts
        "start": segment["start_s"],
        "end": segment["end_s"],
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": 0.0,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 3) if data else 0.0,
        "no_speech_prob": 0.0,
    }

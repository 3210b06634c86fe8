"""Segments as a job's result: one text, its languages, the files, and no more inline than a job's record can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from springtide.engines.protocol import OutputFile
from springtide.engines.speech.numbers import in_figures, in_words
from springtide.engines.speech.schema import Script, Segment, Spoken
from springtide.engines.speech.subtitles import to_srt, to_vtt

UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})  # languages written without spaces
PARAGRAPH_S = 2.0  # a pause that ends a line of the plain text
INLINE_WORDS_S = 900.0  # words of longer recordings are in the JSON file only: a job's own JSON ends at 1 MiB,
INLINE_BYTES = 300_000  # and so are segments of more than this, five hours or so, and the rest of such a text
NOBODY = "Nobody speaks in this recording: there is nothing to write down."
CHINESE = frozenset({"zh", "yue"})
_MARKS = {",": "，", "?": "？", "!": "！", ":": "：", ";": "；"}  # Whisper writes those of English
_HAN = "[\u3400-\u9fff]"
_ASCII_MARK = re.compile(rf"(?:(?<={_HAN})|(?=.\s?{_HAN}))([,?!:;])\s?")


def as_wished(segments: Sequence[Segment], *, itn: bool | None, script: Script) -> list[Segment]:
    """The segments numbered, in the wished characters, with numbers as figures or words. Words stay as they were heard
    but for their characters."""
    return [_as_wished(one, number, itn=itn, script=script) for number, one in enumerate(segments)]


def joined(segments: Sequence[Segment]) -> str:
    """One text: segments apart by a space, but not where both are in a language written without."""
    text = "".join(segments[0].text if segments else "")
    for before, one in pairwise(segments):
        text += ("" if {before.language, one.language} <= UNSPACED else " ") + one.text
    return text


def spoken(segments: Sequence[Segment]) -> list[Spoken]:
    """How long each language is spoken, the longest first."""
    seconds: dict[str, float] = {}
    for one in segments:
        seconds[one.language] = seconds.get(one.language, 0.0) + one.end_s - one.start_s
    order = sorted(seconds, key=seconds.__getitem__, reverse=True)
    return [Spoken(language=language, seconds=round(seconds[language], 3)) for language in order]


def write_files(folder: Path, segments: list[Segment]) -> dict[str, OutputFile]:
    """The transcript as text, subtitles and JSON."""
    languages = spoken(segments)
    document = {
        "text": joined(segments),
        "language": languages[0].language if languages else None,
        "languages": [one.model_dump() for one in languages],
        "segments": [one.model_dump(exclude_none=True) for one in segments],
    }
    contents = {
        "txt": ("transcript.txt", "text/plain", _paragraphs(segments)),
        "srt": ("subtitles.srt", "application/x-subrip", to_srt(segments)),
        "vtt": ("subtitles.vtt", "text/vtt", to_vtt(segments)),
        "transcript": ("transcript.json", "application/json", json.dumps(document, ensure_ascii=False, indent=1)),
    }
    files: dict[str, OutputFile] = {}
    for field, (name, media_type, text) in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
        files[field] = OutputFile(path=folder / name, media_type=media_type)
    return files


def _paragraphs(segments: Sequence[Segment]) -> str:
    """A line for each stretch of talk without a longer pause, in one language."""
    lines: list[list[Segment]] = []
    for one in segments:
        before = lines[-1][-1] if lines else None
        if before and one.start_s - before.end_s < PARAGRAPH_S and one.language == before.language:
            lines[-1].append(one)
        else:
            lines.append([one])
    return "".join(f"{joined(line)}\n" for line in lines)


def inline(segments: list[Segment], duration_s: float) -> tuple[list[Segment], str, str | None]:
    """What of it stands in the job itself: segments, text, and a sentence where something is in the files only."""
    if duration_s > INLINE_WORDS_S:
        segments = [one.model_copy(update={"words": None}) for one in segments]
    text = joined(segments)
    if sum(len(one.text.encode()) + 100 for one in segments) <= INLINE_BYTES:
        return segments, text, None
    note = "The transcript is too long to stand here whole: all segments and the whole text are in its files."
    return [], text.encode()[:INLINE_BYTES].decode(errors="ignore"), note


def _as_wished(segment: Segment, number: int, *, itn: bool | None, script: Script) -> Segment:
    text = segment.text
    if segment.language in CHINESE:  # the rules for numbers read simplified characters
        text = _converted(text, Script.SIMPLIFIED)
    if itn is not None:
        text = (in_figures if itn else in_words)(text, "zh" if segment.language in CHINESE else segment.language)
    words = segment.words
    if segment.language in CHINESE:
        text = _ASCII_MARK.sub(lambda found: _MARKS[found[1]], text)
        text = text if script is Script.SIMPLIFIED else _converted(text, script)
        words = words and [word.model_copy(update={"word": _converted(word.word, script)}) for word in words]
    return segment.model_copy(update={"id": number, "text": text, "words": words})


def _converted(text: str, script: Script) -> str:
    return str(_converter("t2s" if script is Script.SIMPLIFIED else "s2t").convert(text))


@lru_cache(maxsize=2)
def _converter(kind: str) -> Any:
    from opencc import OpenCC

    return OpenCC(kind)

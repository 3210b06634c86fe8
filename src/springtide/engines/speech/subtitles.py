"""Segments as SubRip and WebVTT, in cues of the length people can read. Pure text.

A segment may be half a minute long; a cue is at most two lines. Where the times of words are known a cue begins with
its first word, else time is shared out by the number of characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from springtide.engines.speech.schema import Segment, Word

MIN_CUE_S = 0.1  # players drop cues without length
CLOSE_S = 0.5  # a segment this soon behind another goes on with its sentence
MOST_JOINED_S = 30.0
LINE = 42  # columns, as broadcasters have it; a Chinese character takes two
_WIDE = re.compile(r"[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]")
_SENTENCE_END, _CLAUSE_END = "。！？.!?…", "，、；：,;:"


@dataclass(frozen=True, slots=True)
class Cue:
    """What stands on the screen from `start_s` to `end_s`: one line or two."""

    start_s: float
    end_s: float
    text: str


def to_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, comma before the milliseconds, an empty line between."""
    blocks = [
        f"{number}\n{_time(cue.start_s, ',')} --> {_time(cue.end_s, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(segments), 1)
    ]
    return "\n".join(blocks)


def to_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT: the header, then cues; `&`, `<` and `>` are escaped as the format asks."""
    blocks = [
        f"{_time(cue.start_s, '.')} --> {_time(cue.end_s, '.')}\n{_escaped(cue.text)}\n" for cue in cues(segments)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def cues(segments: Sequence[Segment]) -> list[Cue]:
    """The segments in cues of at most two lines."""
    return [cue for segment in _whole_sentences(segments) for cue in _cues(segment)]


def _whole_sentences(segments: Sequence[Segment]) -> list[Segment]:
    """Segments that end amid a sentence, joined with what goes on right behind them: models end them anywhere."""
    whole: list[Segment] = []
    for one in segments:
        before = whole[-1] if whole else None
        if before is None or not _goes_on(before, one):
            whole.append(one)
            continue
        unspaced = _WIDE.match(before.text[-1:]) is not None and _WIDE.match(one.text[:1]) is not None
        words = None if before.words is None or one.words is None else [*before.words, *one.words]
        text = f"{before.text}{'' if unspaced else ' '}{one.text}"
        whole[-1] = before.model_copy(update={"end_s": one.end_s, "text": text, "words": words})
    return whole


def _goes_on(before: Segment, one: Segment) -> bool:
    return (
        before.language == one.language
        and before.text.strip()[-1:] not in ("", *_SENTENCE_END)
        and 0 <= one.start_s - before.end_s < CLOSE_S
        and one.end_s - before.start_s <= MOST_JOINED_S
    )


def _cues(segment: Segment) -> list[Cue]:
    parts = _parts(" ".join(segment.text.replace("-->", "→").split()))  # an arrow would look like a cue's times
    if not parts:
        return []
    end_s = max(segment.end_s, segment.start_s + MIN_CUE_S)
    starts = [*_starts(segment, parts, end_s), end_s]
    return [
        Cue(start, max(end, start + MIN_CUE_S), _on_lines(part))
        for part, start, end in zip(parts, starts, starts[1:], strict=False)
    ]


def _parts(text: str) -> list[str]:
    """Text in parts that fit on two lines, parted at the end of a sentence or a clause or between words, evenly."""
    width = _width(text)
    if width <= 2 * LINE:
        return [text] if text else []
    at = _cut(text, width / -(-width // (2 * LINE)), most=2 * LINE)
    return [text[:at].strip(), *_parts(text[at:].strip())]


def _cut(text: str, aim: float, *, most: float) -> int:
    """Where to part text: near column `aim`, best behind a sentence, then behind a clause, then between words."""
    best, best_cost, column = len(text), float("inf"), 0
    for at in range(1, len(text)):
        column += _width(text[at - 1])
        if column > most:
            break
        before, after = text[at - 1], text[at]
        wide = _WIDE.match(before) is not None and _WIDE.match(after) is not None
        if not (wide or after == " ") or after in _SENTENCE_END + _CLAUSE_END:
            continue
        gain = 0.5 if before in _SENTENCE_END else 0.3 if before in _CLAUSE_END else 0.0
        cost = abs(column - aim) / aim - gain
        if cost < best_cost:
            best, best_cost = at, cost
    if best_cost == float("inf"):  # one word longer than the screen is wide
        best = min(len(text), max(1, int(most) // (2 if _WIDE.match(text[0]) else 1)))
    return best


def _on_lines(text: str) -> str:
    width = _width(text)
    if width <= LINE:
        return text
    at = _cut(text, width / 2, most=min(width, LINE + LINE // 4))
    return f"{text[:at].strip()}\n{text[at:].strip()}"


def _starts(segment: Segment, parts: Sequence[str], end_s: float) -> list[float]:
    words, said, total = segment.words or [], 0, sum(map(_width, parts)) or 1
    starts: list[float] = []
    for part in parts:
        share = said / total
        starts.append(_said_at(words, share) if words else segment.start_s + (end_s - segment.start_s) * share)
        said += _width(part)
    starts[0] = segment.start_s
    return [round(min(start, end_s), 3) for start in starts]


def _said_at(words: Sequence[Word], share: float) -> float:
    """When the word begins that lies at this share of all letters."""
    sizes = [_width(word.word) for word in words]
    left = share * sum(sizes)
    for word, size in zip(words, sizes, strict=True):
        if left < size / 2:
            return word.start_s
        left -= size
    return words[-1].start_s


def _width(text: str) -> int:
    return len(text) + len(_WIDE.findall(text))


def _time(seconds: float, point: str) -> str:
    ms = max(0, round(seconds * 1000))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

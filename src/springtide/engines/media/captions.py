"""Subtitles as text: SubRip and WebVTT read into cues, and a cue's text cut into lines that fit. Pure text.

Reads what people send: Windows line ends, a byte-order mark, missing numbers, dots for commas, hours left out, tags and
entities. Refuses a text without a single cue, and times that cannot be.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import msgspec

from springtide.engines.protocol import InvalidInput

MOST_CUES = 20_000  # four hours with one every 0.7 s
_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}")
_TAG = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")  # <i>, <v Anna>, <00:01.000>, {\an8}
_NOT_FIRST = "，。、；：？！）》」』】’”,.;:?!)]}%…·~～"  # what must not begin a line (GB/T 15834)
_NOT_LAST = "（《「『【‘“([{"  # what must not end one


class Cue(msgspec.Struct, frozen=True):
    """One text and when it is shown."""

    start_s: float
    end_s: float
    text: str  # lines as written


def read_cues(text: str) -> list[Cue]:
    """Cues in the order of their beginnings. Raises InvalidInput."""
    cues: list[Cue] = []
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    at = 0
    while at < len(lines):
        times = _TIMES.match(lines[at])
        at += 1
        if times is None:
            continue
        said: list[str] = []
        while at < len(lines) and lines[at].strip() and not _TIMES.match(lines[at]):
            said.append(lines[at])
            at += 1
        words = _plain("\n".join(said))
        start_s, end_s = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
        if end_s <= start_s:
            raise _wrong(f"the subtitle at {start_s:g} s ends at {end_s:g} s, before it begins")
        if words:
            cues.append(Cue(start_s, end_s, words))
    if not cues:
        raise _wrong(
            "there is no subtitle in it: SubRip or WebVTT is needed, with times like 00:00:01,000 --> 00:00:02,500"
        )
    if len(cues) > MOST_CUES:
        raise _wrong(f"there are {len(cues)} subtitles in it, at most {MOST_CUES} are taken")
    return sorted(cues, key=lambda cue: cue.start_s)


def wrapped(text: str, width: float, measure: Callable[[str], float]) -> str:
    """The text in lines of at most `width` by `measure`: between words, and between Chinese letters but for punctuation
    that must not begin or end a line. Lines are of about one length; a word longer than a line is cut."""
    lines: list[str] = []
    for line in text.split("\n"):
        pieces = _pieces(line, width, measure)
        rows = _filled(pieces, width, measure)
        if len(rows) > 1:  # as many rows, but even: two halves read better than a full line and a word
            low, high = width / len(rows), width
            for _ in range(8):
                middle = (low + high) / 2
                low, high = (low, middle) if len(_filled(pieces, middle, measure)) == len(rows) else (middle, high)
            rows = _filled(pieces, high, measure)
        lines += rows
    return "\n".join(lines)


def _filled(pieces: list[str], width: float, measure: Callable[[str], float]) -> list[str]:
    rows = [""]
    for piece in pieces:
        if rows[-1] and measure((rows[-1] + piece).strip()) > width:
            rows.append("")
        rows[-1] += piece if rows[-1] else piece.lstrip()
    return [row.strip() for row in rows if row.strip()]


def _pieces(line: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """What stays together: a word with the spaces before it; a Chinese letter with the punctuation that is its own."""
    pieces: list[str] = []
    for letter in line:
        before = pieces[-1][-1] if pieces else ""
        joins = bool(before) and (
            letter in _NOT_FIRST
            or before in _NOT_LAST
            or (not letter.isspace() and before.isspace())
            or (not letter.isspace() and not _is_wide(letter) and not _is_wide(before))
        )
        if joins and measure(pieces[-1] + letter) <= width:
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces


def _is_wide(letter: str) -> bool:
    """Chinese, Japanese and Korean letters, between any two of which a line may end."""
    return "\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7a3" or "\uf900" <= letter <= "\uffef"


def _plain(text: str) -> str:
    words = html.unescape(_TAG.sub("", text))
    return "\n".join(line.strip() for line in words.split("\n") if line.strip())


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    if int(minutes) > 59 and hours is not None:
        raise _wrong(f"{hours}:{minutes}:{seconds} is no time")
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _wrong(message: str) -> InvalidInput:
    return InvalidInput(f"subtitles: {message}", errors=[{"loc": "subtitles", "message": message}])

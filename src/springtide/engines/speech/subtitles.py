"""Segments as SubRip and WebVTT. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

from springtide.engines.speech.schema import Segment

MIN_CUE_S = 0.1  # players drop cues without length


def to_srt(segments: Sequence[Segment]) -> str:
    """SubRip: numbered cues, comma before the milliseconds, an empty line between."""
    cues = [
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{_one_cue(segment.text)}\n"
        for number, (segment, start, end) in enumerate(_timed(segments), 1)
    ]
    return "\n".join(cues)


def to_vtt(segments: Sequence[Segment]) -> str:
    """WebVTT: the header, then cues; `&`, `<` and `>` are escaped as the format asks."""
    cues = [
        f"{_time(start, '.')} --> {_time(end, '.')}\n{_escaped(_one_cue(segment.text))}\n"
        for segment, start, end in _timed(segments)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _timed(segments: Sequence[Segment]) -> list[tuple[Segment, float, float]]:
    return [(segment, segment.start_s, max(segment.end_s, segment.start_s + MIN_CUE_S)) for segment in segments]


def _time(seconds: float, point: str) -> str:
    ms = max(0, round(seconds * 1000))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _one_cue(text: str) -> str:
    """An empty line would end the cue, and an arrow would look like its times."""
    lines = [line.strip() for line in text.replace("-->", "→").splitlines()]
    return "\n".join(line for line in lines if line)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

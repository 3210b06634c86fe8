"""Subtitles as players read them, whatever was said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.engines.speech.schema import Segment
from springtide.engines.speech.subtitles import to_srt, to_vtt


def segment(start_s: float = 0.0, end_s: float = 1.0, text: str = "Hello.") -> Segment:
    return Segment(id=0, start_s=start_s, end_s=end_s, text=text)


TWO = [segment(0.152, 9.15, "It was the best of times,"), segment(3661.5, 3662.0004, "欢迎使用模型服务平台。")]
TIME = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})")
TIMES = re.compile(rf"{TIME.pattern} --> {TIME.pattern}")


def test_subrip_numbers_its_cues_and_has_a_comma_before_the_milliseconds() -> None:
    assert to_srt(TWO) == (
        "1\n00:00:00,152 --> 00:00:09,150\nIt was the best of times,\n"
        "\n"
        "2\n01:01:01,500 --> 01:01:02,000\n欢迎使用模型服务平台。\n"
    )


def test_webvtt_has_its_header_and_a_point_before_the_milliseconds() -> None:
    assert to_vtt(TWO) == (
        "WEBVTT\n"
        "\n"
        "00:00:00.152 --> 00:00:09.150\nIt was the best of times,\n"
        "\n"
        "01:01:01.500 --> 01:01:02.000\n欢迎使用模型服务平台。\n"
    )


def test_nothing_said_is_an_empty_file_with_what_the_format_asks() -> None:
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [
        (0.0, 0.0, "00:00:00.000 --> 00:00:00.100"),  # players drop cues without length
        (59.9996, 61.0, "00:01:00.000 --> 00:01:01.000"),  # rounded up over the minute, never 60 seconds
        (359_999.0, 360_000.5, "99:59:59.000 --> 100:00:00.500"),
    ],
)
def test_times(start_s: float, end_s: float, expected: str) -> None:
    assert expected in to_vtt([segment(start_s, end_s)])


def test_what_the_formats_would_misread_is_written_so_that_they_do_not() -> None:
    tricky = [segment(text="a --> b <i>&\r\n\r\n\n  next line  ")]
    assert to_srt(tricky).splitlines()[2:] == ["a → b <i>&", "next line"]
    assert to_vtt(tricky).splitlines()[3:] == ["a → b &lt;i&gt;&amp;", "next line"]


@given(
    st.lists(
        st.builds(
            segment,
            st.floats(0, 90_000),
            st.floats(0, 90_000),
            st.text(st.sampled_from(list("ab ->&<\n\r\u2028\x0b\x85你。")), max_size=12),
        ),
        max_size=6,
    )
)
def test_every_segment_is_one_cue_whatever_its_text(segments: list[Segment]) -> None:
    blocks = re.split(r"\n\n+", to_vtt(segments).strip("\n"))
    assert blocks[0] == "WEBVTT"
    assert len(blocks) == 1 + len(segments)
    for block in blocks[1:]:
        times, *text = block.split("\n")
        assert TIMES.fullmatch(times)
        assert all(line and "-->" not in line and "<" not in line for line in text)
    assert len(re.findall(r"(?m)^.*-->.*$", to_srt(segments))) == len(segments)

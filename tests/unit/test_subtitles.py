"""Subtitles as players read them, whatever was said."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.engines.speech.schema import Segment, Word
from springtide.engines.speech.subtitles import LINE, cues, to_srt, to_vtt


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
    assert to_srt(tricky).splitlines()[2:] == ["a → b <i>& next line"]
    assert to_vtt(tricky).splitlines()[3:] == ["a → b &lt;i&gt;&amp; next line"]


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
def test_every_segment_that_says_something_is_one_cue_whatever_its_text(segments: list[Segment]) -> None:
    for at, one in enumerate(segments):
        one.start_s, one.end_s = 10.0 * at, 10.0 * at + one.end_s % 5  # apart: what is close is joined
    blocks = re.split(r"\n\n+", to_vtt(segments).strip("\n"))
    assert blocks[0] == "WEBVTT"
    saying = [one for one in segments if one.text.split()]
    assert len(blocks) == 1 + len(saying)
    for block in blocks[1:]:
        times, *text = block.split("\n")
        assert TIMES.fullmatch(times)
        assert all(line and "-->" not in line and "<" not in line for line in text)
    assert len(re.findall(r"(?m)^.*-->.*$", to_srt(segments))) == len(saying)


LONG = (
    "It was the best of times. It was the worst of times. It was the age of wisdom, it was the age of foolishness; "
    "it was the epoch of belief, it was the epoch of incredulity."
)
LONG_MANDARIN = "欢迎使用模型服务平台，请上传一张人脸照片和一段音频，系统会生成口型同步的视频。" * 3


@pytest.mark.parametrize("text", [LONG, LONG_MANDARIN, "x" * 500, "长" * 300, f"{'y' * 100} {LONG}"])
def test_no_line_is_wider_than_a_screen_and_no_cue_has_a_third(text: str) -> None:
    found = cues([segment(0.0, 20.0, text)])
    assert "".join(cue.text for cue in found).replace("\n", "").replace(" ", "") == text.replace(" ", "")
    lines = [cue.text.split("\n") for cue in found]
    assert max(map(len, lines)) <= 2
    most = LINE + LINE // 4
    assert all(sum(1 + (character > "\u2e80") for character in line) <= most for both in lines for line in both)
    assert found[0].start_s == 0.0
    assert found[-1].end_s == 20.0
    assert all(before.end_s == after.start_s and before.start_s < before.end_s for before, after in pairwise(found))


def test_a_long_segment_is_parted_where_its_sentences_are() -> None:
    found = cues([segment(0.0, 10.0, LONG)])
    assert len(found) == 3
    assert all(cue.text.endswith((".", ",", ";")) for cue in found)


def test_cues_begin_with_their_first_word_where_its_time_is_known() -> None:
    said = LONG.split()
    words = [Word(start_s=1.0 + at / 4, end_s=1.25 + at / 4, word=one, probability=1.0) for at, one in enumerate(said)]
    whole = Segment(id=0, start_s=1.0, end_s=20.0, text=LONG, words=words)
    first, second, _ = cues([whole])
    expected = words[len(first.text.split())].start_s
    assert abs(second.start_s - expected) <= 0.5  # shared out over the 19 s it would be seconds later


def test_a_sentence_that_the_model_cut_in_two_is_whole_again() -> None:
    halves = [segment(0.0, 2.0, "It was the age of"), segment(2.1, 4.0, "foolishness. Yes."), segment(4.0, 5.0, "No.")]
    assert [(cue.start_s, cue.end_s, cue.text) for cue in cues(halves)] == [
        (0.0, 4.0, "It was the age of foolishness. Yes."),
        (4.0, 5.0, "No."),
    ]
    mandarin = [segment(0.0, 1.0, "人工智能"), segment(1.0, 2.0, "正在改变世界")]
    assert [cue.text for cue in cues(mandarin)] == ["人工智能正在改变世界"]
    apart = [segment(0.0, 1.0, "and then"), segment(3.0, 4.0, "it ended")]
    assert len(cues(apart)) == 2

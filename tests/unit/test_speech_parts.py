"""Speech's parts by themselves: what nobody said is left out, work in flight stays in order, records stay small."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.engines.speech.checkpoints import Place, found, kept
from springtide.engines.speech.flight import in_order
from springtide.engines.speech.guards import Evidence, is_invented, without_circles
from springtide.engines.speech.results import INLINE_BYTES, as_wished, inline
from springtide.engines.speech.schema import Script, Segment, Word
from springtide.engines.speech.transcriber import Heard

CLEAR = Evidence(no_speech=0.01, log_probability=-0.2, compression=1.4)
DOUBTFUL = Evidence(no_speech=0.5, log_probability=-0.7, compression=1.1)
HOPELESS = Evidence(no_speech=0.9, log_probability=-1.3, compression=1.1)


@pytest.mark.parametrize("text", ["[Music]", "(applause)", "♪♪", "（音乐）", "【掌声】", " ", "♪ la la ♪"])
def test_sounds_that_are_described_are_nothing_said(text: str) -> None:
    assert is_invented(text, CLEAR)


@pytest.mark.parametrize("text", ["Thanks for watching!", "请不吝点赞 订阅 转发 打赏支持", "字幕由Amara.org社区提供"])
def test_stock_phrases_of_subtitles_are_left_out_only_where_speech_is_doubtful(text: str) -> None:
    assert is_invented(text, DOUBTFUL)
    assert not is_invented(text, CLEAR), "somebody may say it"


def test_the_prompt_said_back_in_noise_is_left_out() -> None:
    prompt = "以下是普通话的句子。"
    assert is_invented("以下是普通话的句子", DOUBTFUL, prompt=prompt)
    assert not is_invented("以下是普通话的句子", CLEAR, prompt=prompt)
    assert not is_invented("好的", DOUBTFUL, prompt=prompt)


def test_what_is_improbable_where_nobody_speaks_is_left_out() -> None:
    assert is_invented("so so", HOPELESS)
    assert not is_invented("so so", DOUBTFUL)


def test_words_that_go_round_in_circles_are_said_once() -> None:
    circles = Evidence(no_speech=0.1, log_probability=-0.3, compression=5.0)
    assert without_circles("and then " * 40 + "it ended", circles) == "and then it ended"
    assert without_circles("我们" * 30, circles) == "我们"
    assert without_circles("no, no, no, no, no, no!", CLEAR) == "no, no, no, no, no, no!"


def test_results_come_in_order_and_work_is_never_far_ahead() -> None:
    release, taken = [threading.Event() for _ in range(6)], list[int]()

    def items() -> Iterator[int]:
        for at in range(6):
            taken.append(at)
            yield at

    def work(at: int) -> int:
        release[at].wait(60)
        return at * at

    ticks = iter(range(1000))

    def tick() -> None:  # runs while the oldest is waited for: here it is let go, the later ones before it
        assert len(taken) <= 3, "two in flight and one ready"
        next(ticks)
        for event in reversed(release):
            event.set()

    assert list(in_order(work, items(), at_once=2, tick=tick)) == [0, 1, 4, 9, 16, 25]


def test_what_work_raises_ends_it() -> None:
    def work(at: int) -> int:
        if at == 1:
            raise TimeoutError("its own")
        return at

    with pytest.raises(TimeoutError, match="its own"):
        list(in_order(work, range(5), at_once=2, tick=lambda: None))


def test_what_a_tick_raises_ends_it_after_those_in_flight() -> None:
    done = list[int]()
    gate = threading.Event()

    def work(at: int) -> int:
        gate.wait(60)
        done.append(at)
        return at

    def tick() -> None:
        gate.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_order(work, range(50), at_once=2, tick=tick))
    assert len(done) <= 3


def segment(text: str, language: str = "zh") -> Segment:
    words = [Word(start_s=0.0, end_s=1.0, word="臺灣", probability=0.9)]
    return Segment(id=9, start_s=0.0, end_s=1.0, text=text, language=language, words=words)


def test_characters_numbers_and_marks_are_as_wished() -> None:
    heard = [segment("氣溫二十三度,對嗎?"), segment("It costs $5, 你好", "en")]
    first, second = as_wished(heard, itn=True, script=Script.SIMPLIFIED)
    assert (first.id, first.text, first.words and first.words[0].word) == (0, "气温23度，对吗？", "台湾")
    assert second.text == "It costs $5, 你好"
    traditional, spoken = as_wished(heard, itn=False, script=Script.TRADITIONAL)
    assert traditional.text == "氣溫二十三度，對嗎？"
    assert spoken.text == "It costs five dollars, 你好"
    assert as_wished(heard, itn=None, script=Script.SIMPLIFIED)[0].text == "气温二十三度，对吗？"


def test_a_transcript_that_a_job_cannot_hold_is_in_the_files_only_and_says_so() -> None:
    few, text, note = inline([segment("好")], 1000.0)
    assert (few[0].words, text, note) == (None, "好", None)
    none, text, note = inline([segment("好" * 1000)] * 200, 1000.0)
    assert none == []
    assert 0.9 * INLINE_BYTES < len(text.encode()) <= INLINE_BYTES
    assert "files" in (note or "")


def test_a_checkpoint_holds_the_place_and_is_only_for_who_made_it(tmp_path: Path) -> None:
    place = Place(48000, Heard("zh", 0.93), (segment("好"),))
    path = tmp_path / "checkpoint"
    path.write_bytes(kept(place, made_by="me"))
    assert found(path, made_by="me") == place
    assert found(path, made_by="you") == Place()
    assert found(None, made_by="me") == Place()
    for broken in (b"", b"{", b"[]", b'{"made_by":"me"}', path.read_bytes()[:-9]):
        path.write_bytes(broken)
        assert found(path, made_by="me") == Place()
    assert found(tmp_path / "absent", made_by="me") == Place()

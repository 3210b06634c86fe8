"""Speech as it is wished for: tiers, figures or words, characters, hot words; an attempt goes on after another."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from engine_world import DATA, Line, probed, weights_folder
from numpy.typing import NDArray

from springtide.domain.errors import ConfigError, InvalidInput
from springtide.engines.speech import whisper
from springtide.engines.speech.checkpoints import Place, kept
from springtide.engines.speech.schema import Input, Output
from springtide.engines.speech.transcriber import Transcriber
from springtide.engines.speech.whisper import WhisperSpeech
from springtide.media.audio import stream_pcm

pytestmark = pytest.mark.xdist_group("engines")

RATE = 16000
CLIPS = Path(os.environ.get("SPRINGTIDE_SPEECH_CLIPS", Path(__file__).parents[3] / "shared" / "media"))
NUMBERS = DATA / "zh_numbers.flac"


@pytest.fixture(scope="module")
def model() -> Iterator[WhisperSpeech]:
    """The engine with its models, each loaded once."""
    engine = WhisperSpeech({}, weights_folder(WhisperSpeech))
    engine.load()
    yield engine
    engine._models.clear()


def run(engine: WhisperSpeech, path: Path, line: Line, **options: Any) -> Output:
    return engine.run(Input(audio=probed(path, "audio/*", "video/*"), **options), line)


def samples(name: str) -> NDArray[np.float32]:
    return np.concatenate(list(stream_pcm(DATA / name, RATE)))


def silence(seconds: float) -> NDArray[np.float32]:
    return np.zeros(round(seconds * RATE), np.float32)


def sound(path: Path, *parts: NDArray[np.float32], layout: str = "mono") -> Path:
    """A FLAC of the parts one after the other; in the centre channel where there are more."""
    whole = (np.concatenate(parts).clip(-1, 1) * 32767).astype(np.int16)
    channels = {"mono": 1, "5.1": 6}[layout]
    frames = np.zeros((len(whole), channels), np.int16)
    frames[:, 2 if channels > 1 else 0] = whole
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE)
        stream.layout = layout  # type: ignore[attr-defined]
        frame = av.AudioFrame.from_ndarray(frames.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    return path


def bare(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def errors(found: str, said: str) -> int:
    """Edit distance; spaces, case and punctuation do not count."""
    a, b = bare(found), bare(said)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]


def test_the_fast_tier_writes_english_and_says_which_model_it_is(model: WhisperSpeech, tmp_path: Path) -> None:
    output = run(model, DATA / "en.wav", Line(tmp_path / "job"), quality="fast")
    said = (DATA / "en.txt").read_text(encoding="utf-8")
    assert errors(output.text, said) <= 0.02 * len(said), output.text
    assert (output.engine, output.model, output.license, output.language) == ("whisper", "whisper-tiny.en", "MIT", "en")


def test_the_fast_tier_refuses_what_is_not_english_whether_it_is_told_or_hears_it(
    model: WhisperSpeech, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"English only, not 'zh'.*standard"):
        run(model, NUMBERS, Line(tmp_path / "told"), quality="fast", language="zh")
    with pytest.raises(InvalidInput, match=r"is in 'zh' \(probability [01].*`quality` at standard") as caught:
        run(model, NUMBERS, Line(tmp_path / "heard"), quality="fast")
    assert caught.value.details["errors"][0]["loc"] == "language"


def test_numbers_come_out_as_figures_or_as_words_and_in_either_script(model: WhisperSpeech, tmp_path: Path) -> None:
    written = run(model, NUMBERS, Line(tmp_path / "a"), itn=True, hotwords=["人工智能", "气温"])
    assert bare(written.text) == bare("人工智能正在改变世界，2026年3月15日，北京的气温是23度。")
    said = run(model, NUMBERS, Line(tmp_path / "b"), itn=False, hotwords=["人工智能", "气温"], script="traditional")
    assert bare(said.text) == bare("人工智能正在改變世界，二零二六年三月十五日，北京的氣溫是二十三度。")
    assert "二零二六年" in said.srt.path.read_text(encoding="utf-8")
    assert "2026年" in written.txt.path.read_text(encoding="utf-8")


def test_marks_between_chinese_characters_are_chinese(model: WhisperSpeech, tmp_path: Path) -> None:
    text = run(model, DATA / "zh.wav", Line(tmp_path / "job"), language="zh").text
    assert "，" in text
    assert "," not in text


@pytest.mark.skipif(not CLIPS.joinpath("zh3.wav").exists(), reason="the four Mandarin clips are not on this machine")
def test_four_mandarin_clips_with_hot_words_have_at_most_three_wrong_characters_in_a_hundred(
    model: WhisperSpeech, tmp_path: Path
) -> None:
    said = CLIPS.joinpath("zh.txt").read_text(encoding="utf-8").split("\n")
    hotwords = ["人工智能", "气温", "模型服务平台", "图像抠图", "视频生成", "语音识别"]
    wrong = [
        errors(run(model, CLIPS / f"zh{at}.wav", Line(tmp_path / str(at)), hotwords=hotwords, itn=False).text, said[at])
        for at in range(4)
    ]
    assert sum(wrong) <= 0.03 * len(bare("".join(said[:4]))), wrong


def test_as_many_hot_words_and_as_much_of_the_prompt_as_fit_are_used_and_the_result_says_so(
    model: WhisperSpeech, tmp_path: Path
) -> None:
    many = ["best of times", *(f"unlikely name {at} {'q' * 40}" for at in range(99))]
    output = run(model, DATA / "en.wav", Line(tmp_path / "job"), language="en", hotwords=many, prompt="Dickens. " * 110)
    assert "best of times" in output.text.lower()
    assert re.search(r"Only the first \d of the 100 hotwords", output.note or "")


def test_silence_and_music_are_nothing_said_with_a_sentence_that_tells_so(model: WhisperSpeech, tmp_path: Path) -> None:
    t = np.arange(12 * RATE) / RATE
    chords = [(220, 277.2, 329.6), (196, 246.9, 293.7), (174.6, 220, 261.6), (196, 246.9, 293.7)]
    music = sum(
        np.sin(2 * math.pi * pitch * t) * ((t // 1.5).astype(int) % 4 == at) * np.exp(-(t % 1.5))
        for at, chord in enumerate(chords)
        for pitch in chord
    )
    for name, part in (("silence", silence(3)), ("music", (0.2 * music).astype(np.float32))):
        output = run(model, sound(tmp_path / f"{name}.flac", part), Line(tmp_path / name))
        assert (output.text, output.segments, output.speech_found) == ("", [], False), name
        assert (output.note or "").startswith("Nobody speaks"), name


def test_two_languages_in_one_file_with_five_point_one_sound_are_each_named(
    model: WhisperSpeech, tmp_path: Path
) -> None:
    path = sound(tmp_path / "two.flac", samples("en.wav"), silence(1.5), samples(NUMBERS.name), layout="5.1")
    output = run(model, path, Line(tmp_path / "job"))
    assert [one.language for one in output.languages] == ["en", "zh"]
    assert output.language == "en"
    assert {one.language for one in output.segments if one.start_s < 9} == {"en"}
    assert {one.language for one in output.segments if one.start_s > 11} == {"zh"}
    told = json.loads(output.transcript.path.read_text(encoding="utf-8"))
    assert [one["language"] for one in told["languages"]] == ["en", "zh"]
    assert len(output.txt.path.read_text(encoding="utf-8").splitlines()) == 2, "a line for each language"


def test_an_attempt_goes_on_behind_the_last_piece_and_its_result_is_that_of_an_undisturbed_one(
    model: WhisperSpeech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "EVERY_S", 0.0)
    part = samples(NUMBERS.name)
    path = sound(tmp_path / "three.flac", part, silence(2), samples("en.wav"), silence(2), part)
    whole = Line(tmp_path / "whole")
    expected = run(model, path, whole, word_times=True)
    assert len(whole.checkpoints) == 3
    heard = list[str]()
    real = Transcriber._decoded

    def noted(self: Transcriber, part: NDArray[np.float32], language: str) -> Any:
        heard.append(language)
        return real(self, part, language)

    monkeypatch.setattr(Transcriber, "_decoded", noted)
    line = Line(tmp_path / "again")
    line.checkpoint = tmp_path / "checkpoint"
    line.checkpoint.write_bytes(bytes(whole.checkpoints[1]))  # type: ignore[arg-type]
    output = run(model, path, line, word_times=True)
    assert heard == ["zh"], "only the third piece was still to be written down"
    assert output.model_dump(include={"text", "segments", "languages"}) == expected.model_dump(
        include={"text", "segments", "languages"}
    )
    assert min(fraction for fraction, stage in line.heard if stage == "transcribe") > 0.7


def test_a_checkpoint_of_other_wishes_is_not_gone_on_from(model: WhisperSpeech, tmp_path: Path) -> None:
    line = Line(tmp_path / "job")
    line.checkpoint = tmp_path / "checkpoint"
    line.checkpoint.write_bytes(kept(Place(10**9), made_by="a job with hot words"))
    assert "2026年" in run(model, NUMBERS, line).text


def test_emoji_quotes_and_tabs_in_wishes_do_no_harm(model: WhisperSpeech, tmp_path: Path) -> None:
    wishes = {"hotwords": ['"气温"', "😀 <b>&", "a\tb"], "prompt": "“引号” 'q' \\ 😀\n"}
    assert "2026年" in run(model, NUMBERS, Line(tmp_path / "job"), language="zh", **wishes).text


@pytest.mark.parametrize(
    "wish",
    [
        {"prompt": "x" * 10_000},
        {"hotwords": ["x" * 65]},
        {"hotwords": ["x"] * 101},
        {"hotwords": [""]},
        {"itn": "maybe"},
        {"quality": "best"},
        {"script": "latin"},
        {"language": "English"},
    ],
    ids=lambda wish: next(iter(wish)),
)
def test_wishes_out_of_bounds_are_refused_before_anything_runs(wish: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wish))):
        Input(audio=probed(NUMBERS, "audio/*"), **wish)


def test_another_model_folder_is_named_in_the_result_with_the_licence_it_was_given(tmp_path: Path) -> None:
    folder = tmp_path / "my-whisper"
    folder.symlink_to(weights_folder(WhisperSpeech) / "whisper-tiny.en")
    settings = {"model_dir": str(folder), "model_license": "Apache-2.0", "beam_size": 1, "threads": 1}
    engine = WhisperSpeech(settings, tmp_path)
    assert (engine.license, engine.commercial_use) == ("Apache-2.0", None)
    assert {one.recipe for one in engine.weights} == {"whisper-tiny-en"}, "the base model need not be fetched"
    engine.load()
    output = run(engine, DATA / "en.wav", Line(tmp_path / "job"))
    assert (output.model, output.license, output.language) == ("my-whisper", "Apache-2.0", "en")
    with pytest.raises(InvalidInput, match="'zh'"):
        run(engine, DATA / "en.wav", Line(tmp_path / "job"), language="zh")
    with pytest.raises(ConfigError, match=r"tiny\.en.*models pull"):
        run(engine, DATA / "en.wav", Line(tmp_path / "job"), quality="fast", language="en")


@pytest.mark.parametrize(("threads", "at_once", "each"), [(1, 1, 1), (2, 2, 1), (8, 8, 1), (16, 8, 2)])
@pytest.mark.parametrize(("gpus", "device", "compute_type"), [(0, "cpu", "int8"), (1, "cuda", "float16")])
def test_threads_and_device_suit_the_machine(
    threads: int, at_once: int, each: int, gpus: int, device: str, compute_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    class Asked:
        def __init__(self, folder: str, **options: Any) -> None:
            asked.append(options)

        def language_of(self, part: NDArray[np.float32]) -> tuple[str, float]:
            return "en", 1.0

    monkeypatch.setattr("springtide.engines.speech.model.Whisper", Asked)
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: gpus)
    WhisperSpeech({"threads": threads}, weights_folder(WhisperSpeech)).load()
    told = {name: asked[0][name] for name in ("num_workers", "cpu_threads", "device", "compute_type")}
    assert told == {"num_workers": at_once, "cpu_threads": each, "device": device, "compute_type": compute_type}


def test_a_piece_is_encoded_as_long_as_it_is_and_whole_where_that_gave_bad_text(
    model: WhisperSpeech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from faster_whisper import WhisperModel

    frames, tries = list[int](), list[int]()
    encode, generate = WhisperModel.encode, WhisperModel.generate_with_fallback

    def encoding(self: Any, features: NDArray[np.float32]) -> Any:
        frames.append(features.shape[-1])
        return encode(self, features)

    def unsure_at_first(self: Any, encoded: Any, prompt: Any, tokenizer: Any, options: Any) -> Any:
        tries.append(len(options.temperatures))
        result, probability, temperature, compression = generate(self, encoded, prompt, tokenizer, options)
        return result, (-2.0 if len(tries) == 1 else probability), temperature, compression

    monkeypatch.setattr(WhisperModel, "encode", encoding)
    monkeypatch.setattr(WhisperModel, "generate_with_fallback", unsure_at_first)
    assert "2026年" in run(model, NUMBERS, Line(tmp_path / "job")).text
    assert frames == [1300, 3000], "7 s and six more; then half a minute"
    assert tries == [1, 6], "one try; then the library's own ladder of temperatures"

"""The openai-transcription engine against a double of that interface: what is sent, what is made of answers, faults."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from engine_world import DATA, Line, probed
from remote_doubles import TranscriptionDouble

from springtide.domain.errors import AttemptFailed, ConfigError, InvalidInput
from springtide.engines.protocol import Cancelled
from springtide.engines.remote.transcription import Transcription
from springtide.engines.speech.schema import Input, Output

PATH = "/v1/audio/transcriptions"
KEY = "sk-test-5f1e"


@pytest.fixture
def service() -> Iterator[TranscriptionDouble]:
    with TranscriptionDouble() as double:
        yield double


def engine_of(service: TranscriptionDouble, **settings: Any) -> Transcription:
    quick = {"poll_s": 0.02, "outage_s": 0.3, "busy_timeout_s": 1.0}
    engine = Transcription({"url": f"{service.url}/v1", "model": "whisper-1", **quick, **settings}, Path("unused"))
    engine.load()
    return engine


def run(engine: Transcription, line: Line, **more: Any) -> Output:
    return engine.run(Input(audio=probed(DATA / "en.wav", "audio/*"), **more), line)


def test_the_service_is_told_whose_trace_it_works_for(service: TranscriptionDouble, tmp_path: Path) -> None:
    service.words = [{"word": "Hello", "start": 0.1, "end": 0.6}]
    line = Line(tmp_path / "job")
    run(engine_of(service), line)
    line.traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    run(engine_of(service), line)
    assert [request.headers["traceparent"] for request in service.requests] == [None, line.traceparent]


@pytest.mark.parametrize(("sound", "media_type", "at_most"), [("opus", b"OggS", 60_000), ("flac", b"fLaC", 200_000)])
def test_what_is_sent_is_small_and_what_comes_back_is_what_every_speech_engine_gives(
    sound: str, media_type: bytes, at_most: int, service: TranscriptionDouble, tmp_path: Path
) -> None:
    service.words = [{"word": "Hello", "start": 0.1, "end": 0.6}, {"word": "there.", "start": 0.6, "end": 1.0}]
    line = Line(tmp_path / "job")
    wishes = {"hotwords": ["Springtide"], "prompt": "A talk.", "language": "en", "word_times": True}
    output = run(engine_of(service, sound=sound, fields={"temperature": "0"}), line, **wishes)
    form = service.requests[0].form
    sent = {name: [value.decode() for value in values] for name, values in form.items() if name != "file"}
    assert sent == {
        "model": ["whisper-1"],
        "response_format": ["verbose_json"],
        "language": ["en"],
        "prompt": ["Springtide A talk."],
        "timestamp_granularities[]": ["segment", "word"],
        "temperature": ["0"],
    }
    [file] = form["file"]
    assert file.startswith(media_type)
    assert len(file) < at_most
    path = tmp_path / "sent"
    path.write_bytes(file)
    with av.open(str(path)) as container:
        assert sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)) == pytest.approx(
            9.7, abs=0.2
        )
    assert (output.text, output.language, output.model) == ("Hello there.", "en", "whisper-1")
    assert [(one.start_s, one.end_s) for one in output.segments] == [(0.0, 2.5)]
    assert [word.word for word in output.segments[0].words or []] == ["Hello", "there."]
    assert output.srt.path.read_text().endswith("Hello there.\n")
    assert output.duration_s == pytest.approx(9.7, abs=0.1)
    assert line.stages == Transcription.stages


def test_figures_and_characters_are_made_here(tmp_path: Path) -> None:
    with TranscriptionDouble(language="chinese", text="今天氣溫是二十三度,很好") as service:
        output = run(
            engine_of(service, hotwords_field="hotwords"), Line(tmp_path / "job"), itn=True, hotwords=["甲", "乙"]
        )
    assert (output.text, output.language) == ("今天气温是23度，很好", "zh")
    form = service.requests[0].form
    assert form["hotwords"] == ["甲,乙".encode()]
    assert "prompt" not in form
    assert "language" not in form


@pytest.mark.parametrize("response_format", ["json", "text"])
def test_a_server_without_times_gives_one_segment(
    response_format: str, service: TranscriptionDouble, tmp_path: Path
) -> None:
    output = run(engine_of(service, response_format=response_format), Line(tmp_path / "job"))
    [segment] = output.segments
    assert (segment.start_s, segment.text, output.language) == (0.0, "Hello there.", "en")
    assert segment.end_s == pytest.approx(9.7, abs=0.1)


def test_nothing_said_there_is_nothing_said_here(service: TranscriptionDouble, tmp_path: Path) -> None:
    service.text, service.segments = "", []
    output = run(engine_of(service), Line(tmp_path / "job"))
    assert (output.text, output.speech_found, output.language) == ("", False, None)
    assert (output.note or "").startswith("Nobody speaks")


def test_the_key_is_sent_and_never_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ASR_KEY", KEY)
    with TranscriptionDouble(key=KEY) as service:
        engine = engine_of(service, api_key_env="ASR_KEY")
        assert run(engine, Line(tmp_path / "job")).text == "Hello there."
        service.faults[PATH] = ["401"]
        with pytest.raises(AttemptFailed, match="api_key_env") as caught:
            run(engine, Line(tmp_path / "job"))
    assert (caught.value.code, caught.value.retryable) == ("remote_refused", False)
    assert "***" in caught.value.message, "the service said it back"
    assert KEY not in caught.value.message + caplog.text + repr(engine.options)


def test_a_key_that_is_not_there_is_told_when_the_model_is_loaded(service: TranscriptionDouble) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        engine_of(service, api_key_env="NO_SUCH_KEY")


def test_a_redirect_gets_neither_the_key_nor_the_sound(
    service: TranscriptionDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_KEY", KEY)
    with TranscriptionDouble() as elsewhere:
        service.faults[PATH] = [f"redirect {elsewhere.url}{PATH}"]
        with pytest.raises(AttemptFailed, match="not followed"):
            run(engine_of(service, api_key_env="ASR_KEY"), Line(tmp_path / "job"))
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "faults",
    [["429 0"], ["429 0", "429 0"], ["500"], ["reset before"], ["malformed"], ["cut"], ["list"]],
    ids=" ".join,
)
def test_what_passes_is_tried_again(faults: list[str], service: TranscriptionDouble, tmp_path: Path) -> None:
    service.faults[PATH] = list(faults)
    assert run(engine_of(service), Line(tmp_path / "job")).text == "Hello there."
    assert len(service.requests) == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [("429 3600", "remote_busy"), ("500", "remote_unavailable"), ("malformed", "remote_malformed")],
)
def test_what_lasts_is_left_to_a_later_attempt(
    fault: str, code: str, service: TranscriptionDouble, tmp_path: Path
) -> None:
    service.faults[PATH] = [fault] * 999
    with pytest.raises(AttemptFailed) as caught:
        run(engine_of(service, outage_s=0.1), Line(tmp_path / "job"))
    assert (caught.value.code, caught.value.retryable) == (code, True)
    if code == "remote_busy":
        assert len(service.requests) == 1, "an hour is longer than busy_timeout_s: it is not even waited for"


def test_a_slow_server_is_given_up_after_its_time(service: TranscriptionDouble, tmp_path: Path) -> None:
    service.faults[PATH] = ["slow"] * 99
    with pytest.raises(AttemptFailed, match="did not answer in time") as caught:
        run(engine_of(service, read_timeout_s=0.2, outage_s=0.1), Line(tmp_path / "job"))
    assert caught.value.code == "remote_unavailable"


def test_a_cancel_ends_a_request_that_is_under_way(service: TranscriptionDouble, tmp_path: Path) -> None:
    service.faults[PATH] = ["slow"]

    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            super().__call__(fraction, stage, **more)
            if service.asked.is_set():
                raise Cancelled

    with pytest.raises(Cancelled):
        run(engine_of(service), Cancelling(tmp_path / "job"))
    assert not service.go_on.is_set()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"text": 5},
        {"text": "x", "segments": [{"start": "soon", "end": 1, "text": "x"}]},
        {"text": "x", "words": [1]},
    ],
)
def test_an_answer_that_is_not_of_the_interface_is_malformed(
    answer: dict[str, Any], service: TranscriptionDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from remote_doubles import of_json

    monkeypatch.setattr(service, "answer", lambda request: of_json(answer))
    with pytest.raises(AttemptFailed) as caught:
        run(engine_of(service), Line(tmp_path / "job"))
    assert (caught.value.code, caught.value.retryable) == ("remote_malformed", True)


def test_what_the_service_cannot_do_is_the_callers_to_change(service: TranscriptionDouble, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no fast tier"):
        run(engine_of(service), Line(tmp_path / "a"), quality="fast")
    assert run(engine_of(service, fast_model="tiny"), Line(tmp_path / "b"), quality="fast").model == "tiny"
    with pytest.raises(InvalidInput, match=r"at most 1,000: cut the recording"):
        run(engine_of(service, max_bytes=1000), Line(tmp_path / "c"))

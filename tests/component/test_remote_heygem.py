"""The heygem engine against a faithful double of its service: both ways to hand files over, and every fault it has."""

from __future__ import annotations

import io
import urllib.error
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from engine_world import DATA, Line, probed
from remote_doubles import HeygemDouble

from springtide.domain.errors import AttemptFailed, ConfigError
from springtide.engines.human.schema import Input, Output
from springtide.engines.protocol import Cancelled
from springtide.engines.provenance import Kind, origin_of
from springtide.engines.remote.engine import Call
from springtide.engines.remote.heygem import Heygem
from springtide.media.film import FilmWriter, opened_film
from springtide.testing import media
from springtide.testing import media_makers as makers
from springtide.testing.servers import free_port

CONSENT = "I am the person shown and heard."


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the service makes: small, but a real film with sound."""
    path = tmp_path_factory.mktemp("film") / "made.mp4"
    with FilmWriter(path, width=160, height=120, fps=25, sound=DATA / "en.wav") as writer:
        for at in range(25):
            writer.write(np.full((120, 160, 3), at * 9, np.uint8))
    return path


@pytest.fixture
def service(tmp_path: Path, film: Path) -> Iterator[HeygemDouble]:
    with HeygemDouble(tmp_path / "data", film) as double:
        yield double


def engine_of(service: HeygemDouble, **settings: Any) -> Heygem:
    ways = {} if "lend_url" in settings else {"shared_dir": str(service.data)}
    quick = {"poll_s": 0.02, "settle_s": 0.02, "vanished_s": 0.3, "outage_s": 1.0, "busy_timeout_s": 5.0}
    engine = Heygem({"url": service.url, **quick, **ways, **settings}, Path("unused"))
    engine.load()
    return engine


def inputs(folder: Path, **more: Any) -> Input:
    """A tiny face and a short voice unless others are given: what the service makes of them is always the same."""
    if "audio" not in more:
        more["audio"] = probed(makers.silence_wav(folder), "audio/*")
    if not {"video", "image"} & set(more):
        path = folder / "face.png"
        media.picture().save(path)
        more["image"] = probed(path, "image/*")
    return Input(consent=CONSENT, **more)


def run(engine: Heygem, line: Line, **more: Any) -> Output:
    return engine.run(inputs(line.folder, **more), line)


def test_a_photo_and_a_voice_become_a_marked_film_and_nothing_is_left_behind(
    service: HeygemDouble, tmp_path: Path
) -> None:
    line = Line(tmp_path / "job")
    given = {"image": probed(DATA / "portrait.jpg", "image/*"), "audio": probed(DATA / "en.wav", "audio/*")}
    output = run(engine_of(service), line, blink=False, crf=28, **given)
    assert output.notes == ["This service decides blink, crf by itself: what was asked for had no effect."]
    assert (output.faces_found, output.audio_s) == (None, pytest.approx(9.7, abs=0.1))
    assert output.poster.path.read_bytes()[:2] == b"\xff\xd8"
    assert (output.width, output.height, output.fps, output.frames) == (160, 120, 25.0, 25)
    assert (output.engine, output.model, output.generative) == ("heygem", "duix.avatar", True)
    origin = origin_of(output.video.path)
    assert origin is not None
    assert origin.kind is Kind.COMPOSITE
    assert "consent_sha256" in origin.facts
    [order] = service.submitted
    assert (order["chaofen"], order["watermark_switch"], order["pn"]) == (0, 0, 1)
    assert order["audio_url"] == f"{order['code']}.wav", "relative to /code/data/temp, as its own client sends it"
    [(voice, face)] = service.inputs
    with wave.open(io.BytesIO(voice)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(9.7, abs=0.1)
    with av.open(io.BytesIO(face)) as container:
        assert container.streams.video[0].frames == 50, "two seconds, for the service to repeat"
    assert line.stages == Heygem.stages
    assert line.fractions == sorted(line.fractions)
    assert max(fraction for fraction, stage in line.heard if stage == "wait") >= 0.6
    assert line.checkpoints == [order["code"].encode()]
    assert list((service.data / "temp").iterdir()) == []


def test_a_video_goes_as_it_is_and_the_label_is_on_the_result(
    service: HeygemDouble, film: Path, tmp_path: Path
) -> None:
    output = run(engine_of(service, keep_files=True), Line(tmp_path / "job"), video=probed(film, "video/*"), label=True)
    assert service.inputs[0][1] == film.read_bytes()
    assert len(list((service.data / "temp").iterdir())) == 3, "kept, as asked"
    with opened_film(output.video.path) as made:
        first = next(iter(made.frames()))
        assert made.has_audio
    assert int(first.max()) > 150, "the first frame was black: that is the label"


def test_files_go_by_url_where_no_folder_is_shared(service: HeygemDouble, tmp_path: Path) -> None:
    port = free_port()
    engine = engine_of(
        service, lend_url=f"http://127.0.0.1:{port}", lend_bind="127.0.0.1", files_url=f"{service.url}/data"
    )
    output = run(engine, Line(tmp_path / "job"))
    assert output.frames == 25
    [order] = service.submitted
    assert order["audio_url"].startswith(f"http://127.0.0.1:{port}/")
    assert len(order["audio_url"].split("/")[3]) == 32, "nobody can guess it"
    with pytest.raises(urllib.error.URLError):  # and after the end nobody is there
        service._read(order["audio_url"])


PASSING: dict[str, dict[str, list[str]]] = {
    "busy, with its code": {"/easy/submit": ["code 10001", "code 10001", "code 10003"]},
    "busy, as a gateway before it says": {"/easy/submit": ["429 0"]},
    "a connection reset before the order came": {"/easy/submit": ["reset before"]},
    "a connection reset after the order came": {"/easy/submit": ["reset after"]},
    "a 500 while it runs": {"/easy/query": ["", "500", "500"]},
    "a connection reset while it runs": {"/easy/query": ["", "reset before", "reset after"]},
    "malformed JSON while it runs": {"/easy/query": ["", "malformed", "list"]},
    "an answer cut off while it runs": {"/easy/query": ["", "cut"]},
    "a fault of its own while it runs": {"/easy/query": ["", "code 9999"]},
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_costs_nothing_and_no_job_is_begun_twice(name: str, service: HeygemDouble, tmp_path: Path) -> None:
    service.faults.update(PASSING[name])
    assert run(engine_of(service), Line(tmp_path / "job")).frames == 25
    assert len(service.submitted) == 1


def test_it_waits_for_the_job_of_somebody_else(service: HeygemDouble, tmp_path: Path) -> None:
    service.jobs["of-somebody-else"] = 0
    line = Line(tmp_path / "job")

    class Impatient(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            super().__call__(fraction, stage, **more)
            if len(self.heard) > 5:
                service.jobs["of-somebody-else"] = 99  # it is done

    assert run(engine_of(service), Impatient(line.folder)).frames == 25


LASTING: dict[str, tuple[Callable[[HeygemDouble], Any], str, bool, str]] = {
    "busy for ever": (lambda one: one.jobs.update(other=-9999), "remote_busy", True, "忙碌中"),
    "away for ever": (
        lambda one: one.faults.update({"/easy/query": ["", *["500"] * 999]}),
        "remote_unavailable",
        True,
        "500",
    ),
    "broken for ever": (
        lambda one: one.faults.update({"/easy/submit": ["code 9999"] * 999}),
        "remote_unavailable",
        True,
        "9999",
    ),
    "a bad parameter": (
        lambda one: one.faults.update({"/easy/submit": ["code 10002"]}),
        "remote_refused",
        False,
        "10002",
    ),
    "failed there": (lambda one: setattr(one, "failure", "未检测到人脸"), "remote_failed", False, "未检测到人脸"),
    "lost there": (lambda one: setattr(one, "loses", True), "remote_lost", True, "no whole .*-r.mp4"),
    "half a file for ever": (lambda one: setattr(one, "halves", 999), "remote_lost", True, "could not be read"),
    "a redirect": (
        lambda one: one.faults.update({"/easy/query": ["redirect http://127.0.0.1:9/"]}),
        "remote_refused",
        False,
        "not followed",
    ),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_ends_the_attempt_with_its_own_code_and_words(
    name: str, service: HeygemDouble, tmp_path: Path
) -> None:
    arrange, code, retryable, words = LASTING[name]
    arrange(service)
    engine = engine_of(service, busy_timeout_s=0.3, outage_s=0.2)
    with pytest.raises(AttemptFailed, match=words) as caught:
        run(engine, Line(tmp_path / "job"))
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    left = [path.name for path in (service.data / "temp").iterdir()]
    assert not [name for name in left if not name.endswith("-r.mp4")], "what was sent is taken away again"


def test_a_job_that_vanished_from_the_table_has_not_failed_where_its_file_comes(
    service: HeygemDouble, tmp_path: Path
) -> None:
    service.forgets = True
    assert run(engine_of(service), Line(tmp_path / "job")).frames == 25


def test_half_a_file_is_waited_for(service: HeygemDouble, tmp_path: Path) -> None:
    service.forgets, service.halves = True, 1

    class Finishing(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            super().__call__(fraction, stage, **more)
            if [one for one in self.heard if one[1] == "fetch"][4:]:
                service.finish_file(service.submitted[0]["code"])

    assert run(engine_of(service, vanished_s=5.0), Finishing(tmp_path / "job")).frames == 25


def test_a_file_that_still_grows_is_not_taken(service: HeygemDouble, film: Path, tmp_path: Path) -> None:
    path = service.data / "temp" / "x-r.mp4"
    path.write_bytes(film.read_bytes())

    class Growing(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            with path.open("ab") as file:
                file.write(b"more")

    engine = engine_of(service)
    call = Call(engine.options, Growing(tmp_path / "job"))
    assert not engine._fetched(path.name, tmp_path / "taken.mp4", call)
    assert engine._fetched(path.name, tmp_path / "taken.mp4", Call(engine.options, Line(tmp_path / "job")))


def test_another_attempt_goes_on_with_the_job_that_the_last_one_began(service: HeygemDouble, tmp_path: Path) -> None:
    service.looks = 1000

    class Dying(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            super().__call__(fraction, stage, **more)
            if fraction > 0:
                raise Cancelled

    first = Dying(tmp_path / "first")
    with pytest.raises(Cancelled):
        run(engine_of(service), first)
    service.looks = 3
    second = Line(tmp_path / "second")
    second.checkpoint = tmp_path / "checkpoint"
    second.checkpoint.write_bytes(bytes(first.checkpoints[0]))  # type: ignore[arg-type]
    assert run(engine_of(service), second).frames == 25
    assert len(service.submitted) == 1
    third = Line(tmp_path / "third")
    third.checkpoint = tmp_path / "checkpoint"
    third.checkpoint.write_text("a-job-nobody-knows")
    assert run(engine_of(service), third).frames == 25
    assert len(service.submitted) == 2, "one that is not known there is begun anew"


def test_a_cancel_takes_effect_while_it_waits_also_for_an_answer(service: HeygemDouble, tmp_path: Path) -> None:
    service.faults["/easy/query"] = ["", "slow"]

    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None, **more: Any) -> None:
            super().__call__(fraction, stage, **more)
            if len(service.requests) == 3 and not service.faults["/easy/query"]:
                raise Cancelled

    with pytest.raises(Cancelled):
        run(engine_of(service), Cancelling(tmp_path / "job"))
    assert not service.go_on.is_set(), "the answer never came"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"url": "ftp://x"}, "http:// or https://"),
        ({"url": "http://user:secret@x"}, "api_key_env"),
        ({"url": "http://x", "polls": 1}, "polls"),
        ({"url": "http://x"}, "shared_dir, or lend_url and files_url"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        Heygem({**({"shared_dir": "/x"} if "shared" not in words else {}), **settings}, Path("unused"))
    assert "secret" not in caught.value.message


def test_a_consent_and_one_face_are_asked_for() -> None:
    with pytest.raises(ValueError, match="image or video"):
        Input(audio=probed(DATA / "en.wav", "audio/*"), consent=CONSENT)
    with pytest.raises(ValueError, match="consent"):
        Input(audio=probed(DATA / "en.wav", "audio/*"), image=probed(DATA / "portrait.jpg", "image/*"))  # type: ignore[call-arg]

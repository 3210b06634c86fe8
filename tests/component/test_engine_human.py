"""Digital human: on the finished film the mouth opens when the voice says so, and whatever is sent has an answer."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import wave
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from engine_world import DATA, Line, probed, weights_folder
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.faces.detect import FaceDetector, FoundFace
from springtide.engines.faces.mesh import FaceMesh, Landmarks
from springtide.engines.human.anatomy import face_of
from springtide.engines.human.curves import Curves
from springtide.engines.human.engine import DigitalHuman
from springtide.engines.human.schema import Input, Output
from springtide.engines.human.studio import Studio
from springtide.engines.human.subject import _refuse_unfit
from springtide.engines.human.track import measured as measured_at
from springtide.engines.provenance import Kind, origin_of
from springtide.media.film import FilmWriter, opened_film
from springtide.testing import media
from springtide.testing import media_makers as makers
from springtide.testing.engine_runs import Case
from springtide.testing.engine_suite import EngineSuite

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
HEAD = (124, 10, 324, 210)  # of the portrait
FPS = 25.0
CONSENT = "I am the person in this picture, and I agree."
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def human() -> Iterator[DigitalHuman]:
    """The engine with its models, loaded once."""
    engine = DigitalHuman({}, weights_folder(DigitalHuman))
    engine.load()
    yield engine
    engine._studio = None


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As `run` has it."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="module")
def studio(human: DigitalHuman) -> Studio:
    assert human._studio is not None
    return human._studio


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return said(tmp_path_factory.mktemp("speech"), 3.0)


@pytest.fixture(scope="module")
def word(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return said(tmp_path_factory.mktemp("word"), 0.4, from_s=0.8)


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving_head(tmp_path_factory.mktemp("moving"), frames=40)


class TestContract(EngineSuite):
    """What every engine keeps, on one word of a small portrait."""

    engine = "springtide.engines.human.engine:DigitalHuman"
    inputs: ClassVar[dict[str, Any]] = {"image": PORTRAIT, "consent": CONSENT, "size": 256, "idle_motion": 0}
    refused_inputs: ClassVar[list[dict[str, Any]]] = [{"consent": " "}, {"image": None}, {"crf": 52}, {"fps": 0}]
    refused_settings: ClassVar[list[dict[str, Any]]] = [{"preset": "quick"}, {"max_audio_s": 0}, {"x": 1}]

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, tmp_path_factory: pytest.TempPathFactory) -> Case:
        audio = said(tmp_path_factory.mktemp("word"), 0.4, from_s=0.8)
        folder = weights_folder(DigitalHuman)
        return Case(engine=cls.engine, inputs={**cls.inputs, "audio": audio}, weights_folder=folder)


def said(folder: Path, seconds: float, *, from_s: float = 0.0) -> Path:
    """The beginning of the English recording."""
    with wave.open(str(DATA / "en.wav"), "rb") as given, wave.open(str(folder / "said.wav"), "wb") as cut:
        cut.setparams(given.getparams())
        given.setpos(round(from_s * given.getframerate()))
        cut.writeframes(given.readframes(round(seconds * given.getframerate())))
    return folder / "said.wav"


def moving_head(folder: Path, *, frames: int, side: int = 256, blank: range = range(0)) -> Path:
    """The portrait as a hand-held camera would film it: shifted, turned and scaled; grey in the frames of `blank`."""
    with Image.open(PORTRAIT) as file:
        portrait = file.convert("RGB")
    with FilmWriter(folder / "moving.mp4", width=side, height=side, fps=FPS, crf=14) as film:
        for number in range(frames):
            t = number / FPS
            turn, scale = math.radians(6 * math.sin(2 * t)), 200 / side * (1 + 0.08 * math.sin(1.3 * t))
            across, down = 225 + 14 * math.sin(1.7 * t), 130 + 8 * math.cos(2.3 * t)
            cosine, sine, half = math.cos(turn) * scale, math.sin(turn) * scale, side / 2
            back = (cosine, -sine, across - (cosine - sine) * half, sine, cosine, down - (cosine + sine) * half)
            seen = portrait.transform((side, side), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
            film.write(np.full((side, side, 3), 120, np.uint8) if number in blank else np.asarray(seen))
    return folder / "moving.mp4"


def made(engine: DigitalHuman, face: Path, audio: Path, line: Line, **options: Any) -> Output:
    kind = "video" if face.suffix in {".mp4", ".mov", ".webm", ".mkv"} else "image"
    given: dict[str, Any] = {kind: probed(face, f"{kind}/*"), "consent": CONSENT, **options}
    return engine.run(Input(audio=probed(audio, "audio/*", "video/*"), **given), line)


def frames_of(output: Output) -> list[Pixels]:
    with opened_film(output.video.path) as film:
        return list(film.frames())


def measured(frames: list[Pixels]) -> list[float]:
    """The mouth's opening in each frame, as a part of the face's height."""
    folder = weights_folder(DigitalHuman)
    detector, mesh = FaceDetector(folder), FaceMesh(folder)
    mouth, region = list[float](), None
    for frame in frames:
        seen = mesh.measure(frame, detector.find(frame)[0]) if region is None else mesh.look(frame, region)
        region = seen.region
        mouth.append(face_of(seen.points).gap)
    return mouth


def driving(studio: Studio, audio: Path) -> Curves:
    inputs = Input(image=probed(PORTRAIT, "image/*"), audio=probed(audio, "audio/*"), consent=CONSENT)
    return studio.listen(inputs, fps=FPS, longest_s=600, heard=lambda _: None)


def agreement(mouth: list[float], wanted: NDArray[Any]) -> dict[int, float]:
    """Correlation by frames of delay."""
    count = min(len(mouth), len(wanted))
    heard, seen = np.asarray(wanted[:count]), np.asarray(mouth[:count])
    return {
        lag: float(
            np.corrcoef(seen[max(0, lag) : count + min(0, lag)], heard[max(0, -lag) : count - max(0, lag)])[0, 1]
        )
        for lag in range(-4, 5)
    }


def lengths_s(path: Path) -> tuple[float, float]:
    """Of pictures and sound, by what is in the file."""
    with av.open(str(path)) as container:
        ends = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.pts is not None and packet.duration is not None:
                end = float((packet.pts + packet.duration) * packet.time_base)
                ends[packet.stream.type] = max(ends[packet.stream.type], end)
    return ends["video"], ends["audio"]


def test_a_photo_says_what_the_voice_says(human: DigitalHuman, studio: Studio, speech: Path, tmp_path: Path) -> None:
    line = Line(tmp_path / "job")
    output = made(human, PORTRAIT, speech, line)
    frames = frames_of(output)
    found = agreement(measured(frames), driving(studio, speech).open)
    assert found[0] > 0.8
    assert abs(max(found, key=found.__getitem__)) <= 1, "on time to a frame"
    assert len(frames) == output.frames == 75
    pictures_s, sound_s = lengths_s(output.video.path)
    assert pictures_s == pytest.approx(output.audio_s, abs=1 / FPS)
    assert sound_s == pytest.approx(output.audio_s, abs=1 / FPS)
    assert (output.width, output.height, output.fps, output.faces_found) == (512, 512, 25.0, 1)
    assert output.speech_found
    assert line.stages == DigitalHuman.stages
    assert line.fractions == sorted(line.fractions)
    with Image.open(output.poster.path) as poster:
        assert poster.size == (512, 512)


def test_the_file_plays_everywhere_and_says_what_it_is(human: DigitalHuman, word: Path, tmp_path: Path) -> None:
    output = made(human, PORTRAIT, word, Line(tmp_path / "job"), size=256)
    data = output.video.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "plays before it is there"
    with av.open(str(output.video.path)) as film:
        [picture], [sound] = film.streams.video, film.streams.audio
        assert (picture.codec_context.name, picture.pix_fmt) == ("h264", "yuv420p")
        assert sound.codec_context.name == "aac"
    assert (output.engine, output.generative) == ("digital-human", False)
    for path in (output.video.path, output.poster.path):
        origin = origin_of(path)
        assert origin is not None
        assert origin.kind is Kind.COMPOSITE
        assert origin.facts["consent_sha256"] == hashlib.sha256(CONSENT.encode()).hexdigest()
    assert "without a generative network" in output.notes[0]
    assert "Apache-2.0" in output.license


def test_a_label_is_on_every_frame_and_on_the_poster(human: DigitalHuman, word: Path, tmp_path: Path) -> None:
    bare, labelled = (
        made(human, PORTRAIT, word, Line(tmp_path / str(label)), label=label, size=256, idle_motion=0, crf=10)
        for label in (False, True)
    )
    corner = (slice(0, 30), slice(0, 120))
    for one, other in zip(frames_of(bare), frames_of(labelled), strict=True):
        assert np.abs(one[corner].astype(int) - other[corner]).mean() > 10
        assert np.abs(one[100:].astype(int) - other[100:]).mean() < 2
    with Image.open(labelled.poster.path) as poster, Image.open(bare.poster.path) as without:
        assert np.abs(np.asarray(poster)[corner].astype(int) - np.asarray(without)[corner]).mean() > 10


def test_a_moving_face_says_it_too_and_goes_back_and_forth_as_long_as_it_takes(
    human: DigitalHuman, studio: Studio, moving: Path, speech: Path, tmp_path: Path
) -> None:
    output = made(human, moving, speech, Line(tmp_path / "job"))
    frames = frames_of(output)
    found = agreement(measured(frames), driving(studio, speech).open)
    assert found[0] > 0.6
    assert abs(max(found, key=found.__getitem__)) <= 1
    assert len(frames) == 75
    assert lengths_s(output.video.path)[0] == pytest.approx(output.audio_s, abs=1 / FPS)
    border = (slice(0, 20), slice(None))  # above the head: as it was filmed
    with opened_film(moving) as film:
        given = list(film.frames())
    for index, source in ((0, 0), (39, 39), (45, 33), (74, 4)):
        assert np.abs(frames[index][border].astype(int) - given[source][border]).mean() < 4


@pytest.mark.parametrize("face", ["photo", "film"])
def test_silence_keeps_the_mouth_closed(face: str, human: DigitalHuman, moving: Path, tmp_path: Path) -> None:
    quiet = media.wav(tmp_path / "quiet.wav", lambda _: 0.0, seconds=0.6)
    output = made(human, PORTRAIT if face == "photo" else moving, quiet, Line(tmp_path / "job"))
    assert not output.speech_found
    assert "No speech is heard" in output.notes[1]
    mouth = measured(frames_of(output))
    assert max(mouth) < 0.035, "the photo smiles with its lips 0.07 apart"


def test_music_and_noise_do_not_move_the_mouth_unless_asked(
    human: DigitalHuman, studio: Studio, tmp_path: Path
) -> None:
    def chord(t: float) -> float:
        return 0.12 * sum(math.sin(2 * math.pi * hertz * t) for hertz in (220, 277.2, 329.6)) * (1 - t % 0.5)

    inputs: dict[str, Any] = {"image": probed(PORTRAIT, "image/*"), "consent": CONSENT}
    audio = probed(media.wav(tmp_path / "music.wav", chord, seconds=2.0), "audio/*")
    for drive, moves in (("voice", False), ("sound", True)):
        curves = studio.listen(Input(audio=audio, drive=drive, **inputs), fps=FPS, longest_s=600, heard=lambda _: None)
        assert curves.voiced is moves
        assert bool(curves.open.max() > 0.3) is moves


def performed(studio: Studio, curves: Curves, **options: Any) -> list[Pixels]:
    """A photo's frames as they are drawn."""
    inputs = Input(
        image=probed(PORTRAIT, "image/*"), audio=probed(DATA / "en.wav", "audio/*"), consent=CONSENT, **options
    )
    with studio.subject(inputs, longest_s=600) as subject:
        return list(subject.frames(curves, inputs))


def curves_of(opening: NDArray[Any]) -> Curves:
    opening = opening.astype(np.float32)
    return Curves(open=opening, width=np.zeros_like(opening), sound_s=len(opening) / FPS, voiced=True)


def test_the_same_seed_gives_the_same_frames(studio: Studio) -> None:
    curves = curves_of(np.linspace(0, 1, 30))
    first, again, other = (performed(studio, curves, seed=seed, size=224) for seed in (4, 4, 5))
    assert all((one == two).all() for one, two in zip(first, again, strict=True))
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


def test_eyes_blink_and_open_again(studio: Studio) -> None:
    """Where an iris is dark, a lid is light."""
    pupils = (slice(95, 106), slice(198, 209)), (slice(98, 109), slice(241, 252))  # of the portrait
    frames = performed(studio, curves_of(np.zeros(75)), seed=1, idle_motion=0)
    light = np.array([[frame[pupil].mean() for pupil in pupils] for frame in frames])
    awake = np.median(light, axis=0)
    assert (light.max(0) > awake + 12).all()
    assert (np.abs(light[[0, -1]] - awake) < 3).all()
    assert (np.ptp(light, axis=1) > 0).all()
    wakeful = performed(studio, curves_of(np.zeros(50)), seed=1, idle_motion=0, blink=False)
    assert all((frame == wakeful[0]).all() for frame in wakeful)


def test_what_is_not_the_face_stays_as_it_is(studio: Studio) -> None:
    [rest, *_, wide] = performed(studio, curves_of(np.linspace(0, 1, 8)), idle_motion=0, blink=False)
    changed = np.argwhere(np.abs(rest.astype(int) - wide).max(-1) > 12)
    assert len(changed) > 500
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    assert (top > 90, bottom < 260, left > 110, right < 340) == (True,) * 4, "chin, lips and cheeks only"
    [still, *_] = performed(studio, curves_of(np.zeros(1)), strength=0, idle_motion=0, blink=False)
    with Image.open(PORTRAIT) as portrait:
        whole = np.asarray(portrait.convert("RGB"))
    assert np.abs(still[280:].astype(int) - whole[280:]).mean() < 3


def test_a_closed_mouth_gets_teeth_of_its_own_and_stays_a_mouth(studio: Studio, tmp_path: Path) -> None:
    """The portrait, made to close its mouth, is a photo that shows no teeth."""
    [closed] = performed(studio, curves_of(np.zeros(1)), idle_motion=0, blink=False)
    Image.fromarray(closed).crop(HEAD).resize((400, 400), Image.Resampling.LANCZOS).save(tmp_path / "closed.png")
    curves = curves_of(np.array([0.0, 0.5, 1.0]))
    inputs = Input(
        image=probed(tmp_path / "closed.png", "image/*"),
        audio=probed(DATA / "en.wav", "audio/*"),
        consent=CONSENT,
        idle_motion=0,
        blink=False,
    )
    with studio.subject(inputs, longest_s=600) as subject:
        frames = list(subject.frames(curves, inputs))
    mouth = measured(frames)
    assert mouth[0] < 0.03 < mouth[1] < mouth[2]
    inside = frames[2][258:300, 180:224].astype(int)  # as looked at in an image viewer
    assert inside.sum(-1).min() < 150, "dark inside"
    assert inside.min(-1).max() > 110, "light teeth"


def test_frames_without_a_face_are_as_they_were_filmed(human: DigitalHuman, speech: Path, tmp_path: Path) -> None:
    film = moving_head(tmp_path, frames=30, side=192, blank=range(12, 20))
    output = made(human, film, speech, Line(tmp_path / "job"), extend="hold")
    frames = frames_of(output)
    assert 8 <= output.frames_without_face <= 13, "and those until it is found again"
    assert all(np.abs(frames[number].astype(int) - 120).max() < 6 for number in range(12, 20))
    assert f"{output.frames_without_face} frames show no face" in output.notes[-1]
    assert len(frames) == 75


def two_faces() -> Image.Image:
    with Image.open(PORTRAIT) as file:
        head = file.convert("RGB").crop(HEAD)
    canvas = Image.new("RGB", (460, 260), (120, 120, 125))
    canvas.paste(head.resize((140, 140), Image.Resampling.LANCZOS), (20, 60))
    canvas.paste(head.resize((240, 240), Image.Resampling.LANCZOS), (200, 10))
    return canvas


def test_of_several_faces_the_largest_one_speaks_and_that_is_said(studio: Studio, tmp_path: Path, word: Path) -> None:
    two_faces().save(tmp_path / "two.png")
    inputs = Input(
        image=probed(tmp_path / "two.png", "image/*"), audio=probed(word, "audio/*"), consent=CONSENT, idle_motion=0
    )
    with studio.subject(inputs, longest_s=600) as subject:
        rest, wide = subject.frames(curves_of(np.array([0.0, 1.0])), inputs)
        assert subject.faces_found == 2
    change = np.abs(rest.astype(int) - wide)
    assert change[:, :200].max() < 12 < change[:, 200:].max()


def grey(portrait: Image.Image, path: Path) -> None:
    portrait.convert("L").save(path.with_suffix(".png"))


def with_alpha(portrait: Image.Image, path: Path) -> None:
    cut = portrait.convert("RGBA")
    cut.putalpha(Image.new("L", cut.size, 255).filter(ImageFilter.BLUR))
    cut.save(path.with_suffix(".png"))


def print_colours(portrait: Image.Image, path: Path) -> None:
    portrait.convert("CMYK").save(path.with_suffix(".jpg"))


def lying_phone_photo(portrait: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif.tobytes())


def odd_sides(portrait: Image.Image, path: Path) -> None:
    portrait.crop((60, 0, 371, 397)).save(path.with_suffix(".png"))


def tall(portrait: Image.Image, path: Path) -> None:
    portrait.crop((140, 0, 310, 512)).save(path.with_suffix(".webp"), quality=95)


def near_the_edge(portrait: Image.Image, path: Path) -> None:
    portrait.crop((170, 60, 512, 400)).save(path.with_suffix(".png"))


@pytest.mark.parametrize(
    "make",
    [grey, with_alpha, print_colours, lying_phone_photo, odd_sides, tall, near_the_edge],
    ids=lambda f: f.__name__,
)
def test_any_kind_of_picture_speaks(
    make: Callable[[Image.Image, Path], None], human: DigitalHuman, word: Path, tmp_path: Path
) -> None:
    with Image.open(PORTRAIT) as portrait:
        make(portrait.convert("RGB"), tmp_path / "face")
    [picture] = tmp_path.glob("face.*")
    output = made(human, picture, word, Line(tmp_path / "job"), size=320)
    assert max(output.width, output.height) == 320
    assert (output.width % 2, output.height % 2, output.frames) == (0, 0, 10)
    with Image.open(picture) as given:
        upright = given.size if "phone" not in make.__name__ else given.size[::-1]
    assert output.width / output.height == pytest.approx(upright[0] / upright[1], abs=0.02)
    assert measured(frames_of(output))


def filmed(path: Path, *, at_s: list[float], turn: int = 0, sides: tuple[int, int] = (192, 256)) -> Path:
    """The portrait for as long as `at_s` says, frame by frame, with a mark that players turn it by."""
    with Image.open(PORTRAIT) as file:
        portrait = file.convert("RGB").crop((150, 10, 300, 210)).resize(sides, Image.Resampling.LANCZOS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        assert isinstance(stream, VideoStream)
        lying = portrait.rotate(turn, expand=True)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = *lying.size, "yuv420p", Fraction(1, 1000)
        if turn:
            stream.set_display_rotation(-turn)
        for time_s in at_s:
            frame = VideoFrame.from_image(lying)
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_phones_film_is_upright_and_its_varying_rate_is_evened_out(
    human: DigitalHuman, speech: Path, tmp_path: Path
) -> None:
    uneven = [0.0, 0.03, 0.07, 0.2, 0.24, 0.5, 0.54, 0.57, 0.9, 1.0]
    film = filmed(tmp_path / "phone.mp4", at_s=uneven, turn=90)
    output = made(human, film, speech, Line(tmp_path / "job"), fps=20)
    assert (output.width, output.height, output.fps, output.frames) == (192, 256, 20.0, 60)
    assert output.frames_without_face == 0
    assert lengths_s(output.video.path)[0] == pytest.approx(3.0, abs=0.05)


def test_a_film_longer_than_the_voice_is_cut(human: DigitalHuman, moving: Path, word: Path, tmp_path: Path) -> None:
    output = made(human, moving, word, Line(tmp_path / "job"), crf=28, size=160)
    assert (output.frames, output.width) == (10, 160)


def surround(folder: Path) -> Path:
    return media.encoded(folder / "surround.flac", "flac", seconds=0.5, layout="5.1")


def in_a_film(folder: Path) -> Path:
    return media.video(folder / "talk.mp4", with_sound=True, seconds=0.5)


@pytest.mark.parametrize("make", [surround, in_a_film, makers.mono_8k_wav], ids=lambda f: f.__name__)
def test_sound_of_any_kind_is_taken(make: Callable[[Path], Path], human: DigitalHuman, tmp_path: Path) -> None:
    output = made(human, PORTRAIT, make(tmp_path), Line(tmp_path / "job"), size=256, fps=10, idle_motion=0)
    with av.open(str(output.video.path)) as film:
        assert film.streams.audio[0].codec_context.name == "aac"
    assert lengths_s(output.video.path)[1] == pytest.approx(output.audio_s, abs=0.1)


def no_face(portrait: Image.Image) -> Image.Image:
    return media.picture((320, 240))


def upside_down(portrait: Image.Image) -> Image.Image:
    return portrait.rotate(180)


def tiny(portrait: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (1000, 900), (128, 130, 128))
    canvas.paste(portrait.crop(HEAD).resize((70, 70), Image.Resampling.LANCZOS), (300, 300))
    return canvas


def cut_through_the_mouth(portrait: Image.Image) -> Image.Image:
    return portrait.crop((120, 0, 330, 142))


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (no_face, "no_face", "320x240"),
        (upside_down, "no_face", "stands upright"),
        (tiny, "face_too_small", "at least 40"),
        (cut_through_the_mouth, "face_cut_off", "edge"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_picture_in_which_nobody_could_speak_is_refused(
    change: Callable[[Image.Image], Image.Image],
    code: str,
    told: str,
    human: DigitalHuman,
    word: Path,
    tmp_path: Path,
) -> None:
    with Image.open(PORTRAIT) as portrait:
        change(portrait.convert("RGB")).save(tmp_path / "face.png")
    with pytest.raises(BadMedia, match=told) as caught:
        made(human, tmp_path / "face.png", word, Line(tmp_path / "job"))
    assert caught.value.code == code
    assert list((tmp_path / "job").iterdir()) == []


def test_a_face_turned_away_is_refused_by_its_angle(studio: Studio) -> None:
    with Image.open(PORTRAIT) as portrait:
        pixels = np.asarray(portrait.convert("RGB"))
    points = studio._mesh.measure(pixels, studio._detector.find(pixels)[0]).points
    for degrees, refused in ((25, False), (60, True)):
        turn = math.radians(degrees)
        across, depth = points[:, 0] - points[:, 0].mean(), points[:, 2]
        x = across * math.cos(turn) + depth * math.sin(turn) + 256
        turned = np.stack([x, points[:, 1], depth * math.cos(turn) - across * math.sin(turn)], 1).astype(np.float32)
        face = face_of(turned)
        assert face.turned == pytest.approx(degrees, abs=8)
        if refused:
            with pytest.raises(BadMedia, match="turned by about") as caught:
                _refuse_unfit(face, turned, (512, 512))
            assert caught.value.code == "face_turned_away"
        else:
            _refuse_unfit(face, turned, (512, 512))


def test_a_film_without_a_face_or_without_pictures_is_refused(human: DigitalHuman, word: Path, tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="frames of the video") as caught:
        made(human, makers.video_without_sound(tmp_path), word, Line(tmp_path / "one"))
    assert caught.value.code == "no_face"
    sound_only = media.encoded(tmp_path / "sound.m4a", "aac", seconds=0.3)
    film = probed(moving_head(tmp_path, frames=2), "video/*").model_copy(update={"path": sound_only})
    with pytest.raises(BadMedia) as caught:
        human.run(Input(video=film, audio=probed(word, "audio/*"), consent=CONSENT), Line(tmp_path / "two"))
    assert caught.value.code == "no_video_track"


def test_sound_that_is_none_is_refused(human: DigitalHuman, word: Path, tmp_path: Path) -> None:
    silent_film = makers.video_without_sound(tmp_path)
    audio = probed(word, "audio/*").model_copy(update={"path": silent_film})
    with pytest.raises(BadMedia) as caught:
        human.run(Input(image=probed(PORTRAIT, "image/*"), audio=audio, consent=CONSENT), Line(tmp_path / "job"))
    assert caught.value.code == "no_audio_track"


@pytest.mark.parametrize("announced", [True, False])
def test_sound_that_is_too_long_is_refused_by_the_limits_name(
    announced: bool, speech: Path, tmp_path: Path, human: DigitalHuman
) -> None:
    """Whether or not the file says how long it is."""
    engine = DigitalHuman({"max_audio_s": 1.0}, human.weights_folder)
    engine._studio = human._studio
    audio = probed(speech, "audio/*")
    audio = audio if announced else audio.model_copy(update={"duration_s": None})
    inputs = Input(image=probed(PORTRAIT, "image/*"), audio=audio, consent=CONSENT)
    with pytest.raises(InvalidInput, match="max_audio_s") as caught:
        engine.run(inputs, Line(tmp_path / "job"))
    assert caught.value.code == "too_long"
    assert not list((tmp_path / "job").glob("*.mp4"))


def test_one_face_and_a_consent_are_required() -> None:
    image, audio = probed(PORTRAIT, "image/*"), probed(DATA / "en.wav", "audio/*")
    with pytest.raises(ValidationError, match="consent"):
        Input(image=image, audio=audio)  # type: ignore[call-arg]
    for empty in ("", "     ", "yes"):
        with pytest.raises(ValidationError, match="consent"):
            Input(image=image, audio=audio, consent=empty)
    assert Input(image=image, audio=audio, consent="我是本人，同意。").consent
    for faces in ({}, {"image": image, "video": image}):
        with pytest.raises(ValidationError, match="one of the two"):
            Input(audio=audio, consent=CONSENT, **faces)


def test_more_pixels_frames_and_seconds_are_thought_to_take_longer() -> None:
    engine = DigitalHuman({}, Path("unused"))
    image, audio = probed(PORTRAIT, "image/*"), probed(DATA / "en.wav", "audio/*")

    def thought(**options: Any) -> float:
        return engine.estimate(Input(**{"image": image, "audio": audio, "consent": CONSENT, **options}))

    assert thought(size=1280) > thought() > thought(size=128)
    assert thought(fps=50) > thought()
    assert thought(audio=audio.model_copy(update={"duration_s": 100.0})) > 5 * thought()
    assert thought(image=None, video=image) > thought()


def test_missing_model_files_and_wrong_settings_are_told_before_a_job_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="springtide models pull"):
        DigitalHuman({}, tmp_path).load()
    with pytest.raises(ConfigError, match=r"digital-human.*preset"):
        DigitalHuman({"preset": "quick"}, tmp_path)
    with pytest.raises(ConfigError, match=r"digital-human.*max_audio_s"):
        DigitalHuman({"max_audio_s": 0}, tmp_path)


def test_landmarks_that_belong_to_another_place_are_not_believed(studio: Studio) -> None:
    """Given a face upside down, the mesh network imagines an upright one."""
    with Image.open(PORTRAIT) as portrait:
        pixels = np.asarray(portrait.convert("RGB"))
    face = studio._detector.find(pixels)[0]
    seen = studio._mesh.measure(pixels, face)

    class Imagining:
        def measure(self, _frame: Pixels, _found: FoundFace) -> Landmarks:
            return dataclasses.replace(seen, points=seen.points + np.array([0, -60, 0], np.float32))

    assert measured_at(pixels, face, studio._mesh) is not None
    assert measured_at(pixels, face, Imagining()) is None  # type: ignore[arg-type]

"""The engines that finish media, on films made here: each does what it is asked for, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from engine_world import DATA, Line, probed
from PIL import Image
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.examples import example_of
from springtide.engines.made import Made
from springtide.engines.media.captions import read_cues, wrapped
from springtide.engines.media.concat import Concat
from springtide.engines.media.loudness import LoudnessNormalization
from springtide.engines.media.subtitles import Subtitles
from springtide.engines.media.thumbnail import Thumbnail
from springtide.engines.media.transcode import Transcode
from springtide.engines.media.watermark import Watermark
from springtide.engines.protocol import Engine, InputFile, OutputFile
from springtide.engines.provenance import Kind, mark, origin_of
from springtide.media.audio import stream_stereo
from springtide.media.film import FilmWriter, opened_film
from springtide.media.loudness import measure
from springtide.testing.media import tone, wav
from springtide.testing.media_makers import garbage, video_without_sound

RED, GREEN = (210, 40, 40), (30, 150, 60)
SRT = "1\n00:00:00,200 --> 00:00:00,600\n<i>Tide &amp; 潮水</i>\n\n2\n00:00:00,600 --> 00:00:00,800\nsecond\n"


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., InputFile]:
    """Films by what they are, each made once."""
    folder = tmp_path_factory.mktemp("films")

    @cache
    def film(
        colour: tuple[int, int, int] = RED,
        *,
        size: tuple[int, int] = (160, 90),
        seconds: float = 1.0,
        fps: float = 10,
        sound: bool = True,
        codec: str = "h264",
        alpha: bool = False,
    ) -> InputFile:
        name = f"{colour}{size}{seconds}{fps}{sound}{codec}{alpha}"
        ending = {"h264": "mp4", "vp9": "webm", "prores": "mov"}[codec]
        track = wav(folder / "tone.wav", tone, seconds=seconds, rate=48000, channels=2) if sound else None
        path = folder / f"{name}.{ending}"
        with FilmWriter(
            path, width=size[0], height=size[1], fps=fps, codec=codec, alpha=alpha, sound=track, crf=None, threads=1
        ) as new:
            for number in range(round(seconds * fps)):
                frame = np.zeros((size[1], size[0], 4 if alpha else 3), np.uint8)
                frame[..., :3] = colour
                frame[:8, : (number + 1) * size[0] // round(seconds * fps), :3] = 255  # a bar that grows
                if alpha:
                    frame[:, size[0] // 2 :, 3] = 255
                new.write(frame)
        return probed(path, "video/*")

    return film


def run(engine: type[Engine[Any, Any]], folder: Path, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
    made = engine(settings or {}, folder)
    made.load()
    line = Line(folder / f"out_{len(list(folder.iterdir()))}")
    given = engine.Input.model_validate(inputs)
    output = made.run(given, line)
    assert isinstance(output, Made) and output.license == "Apache-2.0" and not output.generative
    assert line.fractions == sorted(line.fractions) and set(line.stages) <= set(made.stages)
    assert made.estimate(given) > 0
    return output


def frames_of(path: Path, **options: Any) -> list[np.ndarray[Any, Any]]:
    with opened_film(path) as film:
        return list(film.frames(**options))


def near(pixel: Any, colour: tuple[int, ...], by: int = 14) -> bool:
    return bool(np.all(np.abs(pixel[:3].astype(int) - np.array(colour)) <= by))


# --- watermark --------------------------------------------------------------------------------------------------------


def test_a_film_is_marked_on_every_frame_and_keeps_its_sound(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    film = films(size=(320, 180))
    output = run(Watermark, tmp_path, video=film, text="© 春潮 😀", size=0.5, opacity=1)
    made, plain = frames_of(output.result.path), frames_of(film.path)
    assert (output.frames, output.width, output.height) == (len(made), 320, 180) == (10, 320, 180)
    for new, old in zip(made, plain, strict=True):
        rows, columns = np.nonzero(np.abs(new.astype(int) - old).max(axis=2) > 60)
        assert rows.min() > 90 and columns.min() > 130, "the mark is at the lower right, and nothing else changed"
        assert new[rows.min() :, columns.min() :].max() > 230
    with opened_film(output.result.path) as again:
        assert again.has_audio


def test_a_film_with_transparency_keeps_it_under_a_mark(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    logo = tmp_path / "logo.png"
    Image.new("RGBA", (40, 40), (0, 0, 255, 255)).save(logo)
    film = films(codec="vp9", alpha=True, sound=False)
    output = run(Watermark, tmp_path, video=film, logo=probed(logo, "image/*"), size=0.2, position="top-left")
    assert output.result.media_type == "video/webm"
    frame = frames_of(output.result.path, alpha=True)[-1]
    assert frame[60, 20, 3] < 10 and frame[60, 140, 3] > 245
    assert frame[12, 12, 3] > 150 and frame[12, 12, 2] > 200


# --- transcode --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "ending"), [("h264", "mp4"), ("h265", "mp4"), ("vp9", "webm"), ("prores", "mov")])
def test_a_film_comes_out_in_the_codec_size_and_rate_that_were_asked_for(
    tmp_path: Path, films: Callable[..., InputFile], codec: str, ending: str
) -> None:
    output = run(Transcode, tmp_path, video=films(), codec=codec, height=46, fps=20)
    assert output.video.path.suffix == f".{ending}"
    assert (output.width, output.height, output.fps, output.frames) == (82, 46, 20, 20)
    with av.open(str(output.video.path)) as container:
        names = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "prores": "prores"}
        assert container.streams.video[0].codec_context.name == names[codec]
        assert len(container.streams.audio) == 1
    assert near(frames_of(output.video.path)[3][40, 41], RED)


def test_a_film_is_never_made_larger_and_may_lose_its_sound(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    output = run(Transcode, tmp_path, video=films(), width=4000, height=4000, sound="none")
    assert (output.width, output.height) == (160, 90)
    with opened_film(output.video.path) as film:
        assert not film.has_audio


def test_a_mark_of_origin_outlives_every_step(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    path = tmp_path / "marked.mp4"
    path.write_bytes(films().path.read_bytes())
    made = Made(engine="human", model="m", version="1", license="MIT", generative=True, seconds=1)
    mark(path, made=made, kind=Kind.COMPOSITE, title="t", consent="yes")
    marked = probed(path, "video/*")
    outputs = [
        run(Watermark, tmp_path, video=marked, text="x").result,
        run(Transcode, tmp_path, video=marked, codec="vp9").video,
        run(Subtitles, tmp_path, video=marked, text=SRT).video,
        run(Concat, tmp_path, videos=[films(GREEN), marked]).video,
        run(LoudnessNormalization, tmp_path, audio=marked).result,
        run(Thumbnail, tmp_path, video=marked, at_s=0.5).picture,
    ]
    for output in outputs:
        origin = origin_of(output.path)
        assert origin is not None and origin.kind is Kind.COMPOSITE, output.path
        assert origin.facts["engine"] == "human" and "consent_sha256" in origin.facts


# --- thumbnail --------------------------------------------------------------------------------------------------------


def test_the_picture_at_a_time_is_the_frame_shown_then(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    output = run(Thumbnail, tmp_path, video=films(), at_s=0.45, width=80)
    assert (output.width, output.height, output.at_s) == (80, 45, 0.45)
    with Image.open(output.picture.path) as picture:
        bar = (np.asarray(picture.convert("RGB"))[1].min(axis=1) > 200).sum()
    assert bar == pytest.approx(40, abs=2), "half of the bar has grown"


def test_the_best_picture_is_neither_black_nor_flat(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    scene = Image.open(DATA / "portrait.jpg").convert("RGB").resize((160, 160))
    with FilmWriter(path, width=160, height=160, fps=10, threads=1) as film:
        for number in range(30):
            flat = np.full((160, 160, 3), 0 if number < 10 else 128, np.uint8)
            film.write(np.asarray(scene) if 16 <= number < 20 else flat)
    output = run(Thumbnail, tmp_path, video=probed(path, "video/*"), candidates=20)
    assert 1.6 <= output.at_s < 2.0


def test_a_sheet_has_a_picture_for_every_moment_and_says_where(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    output = run(Thumbnail, tmp_path, video=films(seconds=2.0), sheet=True, interval_s=0.4, tile_width=64, columns=3)
    with Image.open(output.sheet.path) as sheet:
        assert (sheet.size, output.tiles) == ((192, 72), 5)
        tiles = np.asarray(sheet.convert("RGB"))
    cues = re.findall(r"(\S+) --> (\S+)\nsheet\.jpg#xywh=(\d+),(\d+),64,36\n", output.vtt.path.read_text())
    assert cues[0][:2] == ("00:00:00.000", "00:00:00.400") and cues[-1][1] == "00:00:02.000"
    assert [(int(x), int(y)) for *_, x, y in cues] == [(0, 0), (64, 0), (128, 0), (0, 36), (64, 36)]
    bars = [(tiles[int(y) + 1, int(x) : int(x) + 64].min(axis=1) > 200).sum() for *_, x, y in cues]
    assert bars == sorted(bars) and bars[0] < 16 < 55 < bars[-1] + 8


def test_a_sheet_of_too_many_pictures_is_refused(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    with pytest.raises(InvalidInput, match="at most 400"):
        run(Thumbnail, tmp_path, video=films(seconds=60.0, fps=1, sound=False), sheet=True, interval_s=0.1)


def test_a_time_after_the_end_is_refused(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    with pytest.raises(InvalidInput, match=r"1\.00 s long"):
        run(Thumbnail, tmp_path, video=films(), at_s=9)


# --- subtitles --------------------------------------------------------------------------------------------------------


def test_subtitles_stand_at_their_times_below_and_within_the_picture(
    tmp_path: Path, films: Callable[..., InputFile]
) -> None:
    film = films(size=(320, 180))
    output = run(Subtitles, tmp_path, video=film, text=SRT)
    assert output.subtitles == 2
    shown = []
    for new, old in zip(frames_of(output.video.path), frames_of(film.path), strict=True):
        changed = np.abs(new.astype(int) - old).max(axis=2) > 60
        shown.append(bool(changed.any()))
        if changed.any():
            rows, columns = np.nonzero(changed)
            assert rows.min() > 120 and rows.max() < 174 and columns.min() > 20 and columns.max() < 300
            assert abs((columns.min() + columns.max()) / 2 - 160) < 6, "in the middle"
    assert shown == [False, False, True, True, True, True, True, True, False, False]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_a_file_of_subtitles_is_read_in_the_encodings_people_have(
    tmp_path: Path, films: Callable[..., InputFile], encoding: str
) -> None:
    path = tmp_path / "talk.srt"
    path.write_bytes(SRT.replace("\n", "\r\n").encode(encoding))
    file = InputFile(path=path, media_type="application/x-subrip", bytes=1)
    assert run(Subtitles, tmp_path, video=films(), subtitles=file, place="top", delay_s=-0.2).subtitles == 2


def test_subtitles_that_are_no_text_are_bad_media(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    file = InputFile(path=garbage(tmp_path), media_type="text/plain", bytes=1)
    with pytest.raises((BadMedia, InvalidInput)):
        run(Subtitles, tmp_path, video=films(), subtitles=file)


def test_cues_are_read_as_people_write_them() -> None:
    vtt = (
        "WEBVTT - t\n\nNOTE x\n\nid\n00:01.5 --> 00:02.25 align:left\n<v Anna>a\n<00:02.000>b</v>\n\n"
        "1:00:00.000-->1:00:01.000\nc {\\an8}"
    )
    assert [(cue.start_s, cue.end_s, cue.text) for cue in read_cues(vtt)] == [
        (1.5, 2.25, "a\nb"),
        (3600.0, 3601.0, "c"),
    ]
    for wrong in ("", "hello", "00:00:02,000 --> 00:00:01,000\nx", "0:75:00.0 --> 1:80:00.0\nx"):
        with pytest.raises(InvalidInput):
            read_cues(wrong)


def test_lines_are_even_and_no_punctuation_begins_one() -> None:
    def measure(text: str) -> float:
        return sum(1.0 if letter > "\u2e80" else 0.5 for letter in text)

    chinese = wrapped("今天天气很好，我们去公园。“好的！”她说。", 8, measure).split("\n")
    assert (
        all(measure(line) <= 8 for line in chinese) and "".join(chinese) == "今天天气很好，我们去公园。“好的！”她说。"
    )
    assert not any(line[0] in "，。！”" or line[-1] == "“" for line in chinese)
    assert wrapped("it was the best of times", 8, measure) == "it was the\nbest of times"
    assert (
        wrapped("x" * 40, 8, measure).split("\n") == ["x" * 14, "x" * 14, "x" * 12]
        or max(map(len, wrapped("x" * 40, 8, measure).split("\n"))) <= 16
    )
    assert wrapped("a\nb", 8, measure) == "a\nb"


# --- concat -----------------------------------------------------------------------------------------------------------


def test_films_of_other_shapes_and_rates_become_one(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    second = films(GREEN, size=(60, 120), fps=25, sound=False)
    output = run(Concat, tmp_path, videos=[films(), second, films()])
    frames = frames_of(output.video.path)
    assert (output.frames, output.width, output.height, output.fps) == (30, 160, 90, 10) and len(frames) == 30
    assert near(frames[5][60, 80], RED) and near(frames[15][60, 80], GREEN) and near(frames[25][60, 80], RED)
    assert near(frames[15][60, 20], (0, 0, 0)), "black bars beside an upright film"
    sound = np.concatenate(list(stream_stereo(output.video.path)), axis=1)
    level = [float(np.abs(sound[:, at : at + 9600]).max()) for at in (19_200, 67_200, 115_200)]
    assert level[0] > 0.4 and level[1] < 0.02 and level[2] > 0.4, "silence where a film has no sound"


def test_a_cross_fade_mixes_pictures_and_sound_and_shortens_the_whole(
    tmp_path: Path, films: Callable[..., InputFile]
) -> None:
    output = run(Concat, tmp_path, videos=[films(), films(GREEN)], transition_s=0.4, fit="cover")
    frames = frames_of(output.video.path)
    assert len(frames) == output.frames == 16
    shares = [float(frame[60, 80, 0]) for frame in frames]
    assert (
        shares[5] > 190 and shares[10] < 50 and shares[5] > shares[6] > shares[7] > shares[8] > shares[9] > shares[10]
    )
    sound = np.concatenate(list(stream_stereo(output.video.path)), axis=1)
    assert sound.shape[1] / 48000 == pytest.approx(1.6, abs=0.05)


def test_a_film_too_short_for_its_cross_fades_is_refused(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    with pytest.raises(InvalidInput, match=r"film 2 is 1\.00 s long"):
        run(Concat, tmp_path, videos=[films(), films(), films()], transition_s=0.6)


# --- loudness ---------------------------------------------------------------------------------------------------------


def test_sound_is_as_loud_as_asked_by_a_plain_gain(tmp_path: Path) -> None:
    path = wav(tmp_path / "tone.wav", lambda t: 0.2 * tone(t), seconds=3.0, rate=48000, channels=2)
    output = run(LoudnessNormalization, tmp_path, audio=probed(path, "audio/*"), lufs=-16, format="flac")
    assert output.lufs == pytest.approx(-16, abs=0.1)
    again = measure(stream_stereo(output.result.path))
    assert again.lufs == pytest.approx(-16, abs=0.1) and output.result.media_type == "audio/flac"
    sound = np.concatenate(list(stream_stereo(output.result.path)), axis=1)
    assert sound.shape[1] == pytest.approx(3 * 48000, abs=480)


def test_peaks_are_held_where_the_gain_would_lift_them_over_the_limit(tmp_path: Path) -> None:
    output = run(LoudnessNormalization, tmp_path, audio=probed(DATA / "en.wav", "audio/*"), lufs=-16, format="wav")
    assert output.lufs == pytest.approx(-16, abs=0.5)
    assert output.true_peak_db is not None and output.true_peak_db <= -0.9


def test_a_films_pictures_are_taken_over_untouched(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    for codec, kind in (("h264", "video/mp4"), ("vp9", "video/webm"), ("prores", "video/quicktime")):
        film = films(codec=codec)
        output = run(LoudnessNormalization, tmp_path, audio=film, lufs=-30)
        assert output.result.media_type == kind and output.lufs == pytest.approx(-30, abs=0.3)
        packets = []
        for path in (film.path, output.result.path):
            with av.open(str(path)) as container:
                packets.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
        assert packets[0] == packets[1]


def test_silence_stays_silence_and_has_no_loudness(tmp_path: Path) -> None:
    path = wav(tmp_path / "silence.wav", lambda _: 0.0, seconds=1.0)
    output = run(LoudnessNormalization, tmp_path, audio=probed(path, "audio/*"))
    assert (output.lufs_before, output.lufs) == (None, None)


# --- wrong inputs -----------------------------------------------------------------------------------------------------


def test_wrong_inputs_are_refused_before_a_job_is_accepted(films: Callable[..., InputFile]) -> None:
    film = films()
    for engine, inputs, told in (
        (Watermark, {"video": film}, "text or logo"),
        (Watermark, {"text": "x"}, "image or video"),
        (Watermark, {"video": film, "text": "x", "format": "png"}, "format is for pictures"),
        (Watermark, {"image": film, "text": "x", "crf": 20}, "are for films"),
        (Transcode, {"video": film, "codec": "h264", "crf": 60}, "goes from 0 to 51"),
        (Transcode, {"video": film, "codec": "prores", "crf": 6}, "one quality"),
        (Transcode, {"video": film, "width": 1}, "greater than or equal to 16"),
        (Transcode, {"video": film, "fps": 0}, "greater than 0"),
        (Transcode, {"video": film, "codec": "av1"}, "h264"),
        (Thumbnail, {"video": film, "interval_s": 2}, "sheet = true"),
        (Thumbnail, {"video": film, "at_s": -1}, "greater than or equal to 0"),
        (Subtitles, {"video": film}, "subtitles or text"),
        (Subtitles, {"video": film, "text": "no cue"}, "no subtitle in it"),
        (Concat, {"videos": [film]}, "at least 2"),
        (Concat, {"videos": [film, film], "width": 100}, "both or neither"),
        (Concat, {"videos": [film, film], "transition_s": 11}, "less than or equal to 10"),
        (LoudnessNormalization, {"audio": film, "lufs": 0}, "less than or equal to -8"),
    ):
        with pytest.raises((ValidationError, InvalidInput), match=re.escape(told)):
            engine.Input.model_validate(inputs)


def test_media_that_cannot_be_worked_on_is_told_by_what_it_is(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    sound = InputFile(path=wav(tmp_path / "a.wav", tone), media_type="video/mp4", bytes=1)
    broken = InputFile(path=garbage(tmp_path), media_type="video/mp4", bytes=1)
    silent = InputFile(path=video_without_sound(tmp_path), media_type="video/mp4", bytes=1)
    for engine, inputs, code in (
        (Transcode, {"video": sound}, "no_video_track"),
        (Transcode, {"video": broken}, "broken_media"),
        (Thumbnail, {"video": broken}, "broken_media"),
        (Concat, {"videos": [films(), sound]}, "no_video_track"),
        (LoudnessNormalization, {"audio": silent}, "no_audio_track"),
    ):
        with pytest.raises(BadMedia) as caught:
            run(engine, tmp_path, **inputs)
        assert caught.value.code == code


def test_letters_of_another_typeface_and_none_at_all(tmp_path: Path, films: Callable[..., InputFile]) -> None:
    with pytest.raises(ConfigError, match="font"):
        Subtitles({"font": str(tmp_path / "none.ttf")}, tmp_path)
    with pytest.raises(InvalidInput, match="none of the text"):
        run(Watermark, tmp_path, video=films(), text="😀😀")


@pytest.mark.parametrize(
    "engine", [Concat, LoudnessNormalization, Subtitles, Thumbnail, Transcode, Watermark], ids=lambda one: one.title
)
def test_each_has_an_example_that_runs(tmp_path: Path, engine: type[Engine[Any, Any]]) -> None:
    made = engine({}, tmp_path)
    output = made.run(example_of(made), Line(tmp_path / "out"))
    assert all(file.path.stat().st_size > 1000 for _, file in output if isinstance(file, OutputFile))


def test_who_only_asks_for_their_schemas_loads_no_library() -> None:
    """A gateway imports all of them."""
    names = ("concat", "loudness", "subtitles", "thumbnail", "transcode", "watermark")
    code = (
        "import sys\nfrom springtide.engines.binding import describe\n"
        "from springtide.engines.catalog import load_engine\n"
        f"for name in {names}: describe(name, load_engine(name), engine_reference=name)\n"
        "print([name for name in ('av', 'numpy', 'PIL', 'c2pa') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

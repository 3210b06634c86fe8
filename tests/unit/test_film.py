"""Films are read the right way up, at a steady rate and in flat memory, and written so that they play everywhere."""

from __future__ import annotations

import itertools
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from springtide.domain.errors import BadMedia
from springtide.media.audio import stream_pcm, stream_stereo
from springtide.media.film import Codec, FilmWriter, opened_film
from springtide.testing.media import encoded, picture, tone, video, wav
from springtide.testing.media_makers import garbage, truncated_mp4

RED, TEAL = (200, 30, 40), (20, 160, 150)


def card(width: int = 64, height: int = 48, *, channels: int = 3) -> np.ndarray[Any, Any]:
    """Teal with a red top left quarter."""
    pixels = np.full((height, width, channels), 255, np.uint8)
    pixels[..., :3] = TEAL
    pixels[: height // 2, : width // 2, :3] = RED
    return pixels


def is_close(pixel: Any, colour: tuple[int, ...], tolerance: int = 6) -> bool:
    return bool(np.all(np.abs(pixel[:3].astype(int) - np.array(colour)) <= tolerance))


def write(path: Path, *, frames: int = 10, size: tuple[int, int] = (64, 48), **options: Any) -> Path:
    channels = 4 if options.get("alpha") else 3
    with FilmWriter(path, width=size[0], height=size[1], fps=options.pop("fps", 10), threads=1, **options) as film:
        for _ in range(frames):
            film.write(card(*size, channels=channels))
    return path


def filmed(
    path: Path,
    times: list[Fraction],
    *,
    turn: int = 0,
    form: str = "yuv420p",
    encoder: str = "libx264",
    rate: int = 30,
    **tags: int,
) -> Path:
    """As a telephone films: a frame at each of `times` (seconds), brighter by ten each, held `turn` degrees askew."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=rate, options={"crf": "8", "preset": "ultrafast"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, form
        stream.codec_context.time_base = Fraction(1, 90_000)
        for tag, value in tags.items():
            setattr(stream.codec_context, tag, value)
        if turn:
            stream.set_display_rotation(turn)
        for number, time in enumerate(times):
            pixels = card() if turn else np.full((48, 64, 3), 10 + 10 * (number % 24), np.uint8)
            frame = VideoFrame.from_ndarray(pixels).reformat(format=form, dst_colorspace=tags.get("colorspace", 5))
            frame.pts, frame.time_base = int(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codec", list(Codec))
def test_what_each_codec_writes_comes_back_in_size_rate_length_and_colour(tmp_path: Path, codec: Codec) -> None:
    path = write(tmp_path / f"film{codec.suffix}", codec=codec, fps=30000 / 1001)
    with opened_film(path) as film:
        frames = list(film.frames())
    assert (film.width, film.height, len(frames)) == (64, 48, 10)
    assert film.fps == pytest.approx(29.97, abs=0.02)
    assert film.duration_s == pytest.approx(10 * 1001 / 30000, abs=0.02)
    assert not film.has_audio and not film.has_alpha
    assert is_close(frames[5][12, 16], RED) and is_close(frames[5][36, 48], TEAL)


@pytest.mark.parametrize("codec", [Codec.VP9, Codec.PRORES])
def test_transparency_is_kept_where_the_codec_has_it(tmp_path: Path, codec: Codec) -> None:
    path = tmp_path / f"film{codec.suffix}"
    pixels = card(channels=4)
    pixels[:, 32:, 3] = 0
    with FilmWriter(path, width=64, height=48, fps=10, codec=codec, alpha=True, threads=1) as writer:
        for _ in range(3):
            writer.write(pixels)
    with opened_film(path) as film:
        shown = list(film.frames(alpha=True))[-1]
    assert film.has_alpha
    assert shown.shape == (48, 64, 4)
    assert shown[24, 8, 3] > 250 and shown[24, 56, 3] < 5


def test_a_file_that_browsers_play_has_even_sides_its_index_in_front_and_says_its_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", size=(61, 47), metadata={"title": "海岸 Tide", "comment": "made"})
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (62, 48, "yuv420p")
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (1, 1)
        assert container.metadata["title"] == "海岸 Tide" and container.metadata["comment"] == "made"
    with opened_film(path) as film:
        frame = next(film.frames())
    assert is_close(frame[-1, -1], TEAL)  # the added row and column are the last one doubled, not black


def test_h265_carries_the_tag_that_apple_opens(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "film.mp4", codec="h265"))) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("codec", list(Codec))
def test_the_same_frames_give_the_same_bytes_where_asked(tmp_path: Path, codec: Codec) -> None:
    chance = np.random.default_rng(4)
    frames = [np.roll(np.asarray(picture((96, 64))), (k * 3, k), (0, 1)) for k in range(8)]
    results = set()
    for run in range(3):
        path = tmp_path / f"{run}{codec.suffix}"
        with FilmWriter(
            path, width=96, height=64, fps=10, codec=codec, deterministic=True, sound=[np.zeros((2, 4800), np.float32)]
        ) as film:
            for frame in frames:
                _rubbish = [np.full(int(chance.integers(1000, 200_000)), run, np.uint8) for _ in range(4)]
                film.write(frame)
        results.add(path.read_bytes())
    assert len(results) == 1


def test_a_better_quality_is_a_larger_file(tmp_path: Path) -> None:
    sizes = []
    for crf in (15, 40):
        chance = np.random.default_rng(1)
        with FilmWriter(tmp_path / f"{crf}.mp4", width=64, height=48, fps=10, crf=crf, threads=1) as film:
            for _ in range(5):
                film.write(chance.integers(0, 255, (48, 64, 3), np.uint8))
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(("turn", "corner"), [(90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_a_film_from_a_phone_held_sideways_is_upright(tmp_path: Path, turn: int, corner: tuple[int, int]) -> None:
    """The card's red corner goes where a turn to the left by `turn` degrees takes it."""
    path = filmed(tmp_path / "phone.mp4", [Fraction(n, 30) for n in range(5)], turn=turn)
    with opened_film(path) as film:
        frame = next(film.frames())
    assert (film.width, film.height) == ((48, 64) if abs(turn) == 90 else (64, 48))
    assert frame.shape == (film.height, film.width, 3)
    y, x = (4 if side == 0 else -4 for side in corner)
    assert is_close(frame[y, x], RED, 12)
    assert is_close(frame[-y, -x], TEAL, 12)


def test_a_variable_rate_becomes_constant_and_keeps_its_time(tmp_path: Path) -> None:
    times = [Fraction(t).limit_denominator(1000) for t in (0, 0.033, 0.067, 0.1, 0.5, 0.533, 0.9)]
    path = filmed(tmp_path / "phone.mp4", times)
    with opened_film(path) as film:
        levels = [round(float(frame.mean()) / 10) for frame in film.frames(fps=30)]
        assert sum(1 for _ in film.frames()) == 7
    assert levels[:4] == [1, 2, 3, 4]
    assert levels[10] == 4  # held from 0.1 s to 0.5 s
    assert levels[15:17] == [5, 6]
    assert levels[26:28] == [6, 7]
    assert 28 <= len(levels) <= 30


def test_another_rate_doubles_frames_or_leaves_them_out(tmp_path: Path) -> None:
    path = filmed(tmp_path / "film.mp4", [Fraction(n, 20) for n in range(20)], rate=20)
    with opened_film(path) as film:
        for fps, count in ((40, 40), (10, 10), (25, 25), (0.1, 1)):
            assert sum(1 for _ in film.frames(fps=fps)) == count
        slow = [round(float(frame.mean()) / 10) for frame in film.frames(fps=10)]
    assert slow == list(range(1, 21, 2))


def test_doubled_frames_are_arrays_of_their_own(tmp_path: Path) -> None:
    path = filmed(tmp_path / "film.mp4", [Fraction(n, 10) for n in range(2)])
    with opened_film(path) as film:
        frames = film.frames(fps=40)
        next(frames)[:] = 99
        assert float(next(frames).mean()) < 30


def test_a_part_of_a_film_and_a_frame_at_a_time(tmp_path: Path) -> None:
    path = filmed(tmp_path / "film.mp4", [Fraction(n, 5) for n in range(20)])
    with opened_film(path) as film:
        part = [round(float(frame.mean()) / 10) for frame in film.frames(fps=5, start_s=2.0, stop_s=3.0)]
        assert part == [11, 12, 13, 14, 15]
        assert round(float(film.frame_at(1.6).mean()) / 10) == 9
        assert round(float(film.frame_at(99).mean()) / 10) == 20  # past the end: the last


def test_a_smaller_size_is_given_as_asked(tmp_path: Path) -> None:
    with opened_film(write(tmp_path / "film.mp4")) as film:
        frame = next(film.frames(size=(20, 14)))
    assert frame.shape == (14, 20, 3)
    assert is_close(frame[3, 4], RED, 12)


def test_ten_bits_and_hdr_come_out_as_eight(tmp_path: Path) -> None:
    times = [Fraction(n, 10) for n in range(12)]
    plain = filmed(tmp_path / "ten.mp4", times, form="yuv420p10le", encoder="libx265", colorspace=1)
    hlg = filmed(
        tmp_path / "hlg.mp4",
        times,
        form="yuv420p10le",
        encoder="libx265",
        colorspace=9,
        color_primaries=9,
        color_trc=18,
    )
    with opened_film(plain) as film:
        levels = [float(frame.mean()) for frame in film.frames()]
    assert levels == pytest.approx([10 * n + 10 for n in range(12)], abs=4)
    with opened_film(hlg) as film:
        shown = [float(frame.mean()) for frame in film.frames()]
    assert all(a < b for a, b in itertools.pairwise(shown))  # brighter by each frame, nothing clipped or folded
    assert 30 < shown[8] < 190


def test_anamorphic_film_is_widened(tmp_path: Path) -> None:
    path = tmp_path / "scope.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 64, 48
        stream.sample_aspect_ratio = Fraction(3, 2)
        container.mux(stream.encode(VideoFrame.from_ndarray(card()).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    with opened_film(path) as film:
        assert (film.width, film.height) == (96, 48)
        assert next(film.frames()).shape == (48, 96, 3)


def test_sound_of_any_layout_is_mixed_to_stereo(tmp_path: Path) -> None:
    surround = encoded(tmp_path / "cinema.flac", "flac", layout="5.1")
    path = write(tmp_path / "film.mp4", frames=30, sound=surround)
    with av.open(str(path)) as container:
        (track,) = container.streams.audio
        assert (track.codec_context.name, track.layout.name, track.rate) == ("aac", "stereo", 48000)
    with opened_film(path) as film:
        assert film.has_audio and film.duration_s == pytest.approx(3.0, abs=0.1)
    pieces = np.concatenate(list(stream_stereo(path)), axis=1)
    assert pieces.shape[0] == 2
    assert float(np.abs(pieces[:, 48000:96000]).max()) == pytest.approx(0.5, abs=0.15)


def test_a_track_that_the_container_can_hold_is_taken_over_as_it_is(tmp_path: Path) -> None:
    surround = encoded(tmp_path / "cinema.m4a", "aac", layout="5.1")
    path = write(tmp_path / "film.mp4", frames=30, sound=surround)
    sizes = []
    for file in (surround, path):
        with av.open(str(file)) as container:
            assert container.streams.audio[0].layout.name == "5.1"
            sizes.append([packet.size for packet in container.demux(audio=0) if packet.size])
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.VP9])
def test_sound_that_begins_late_stays_late(tmp_path: Path, codec: Codec) -> None:
    late = video(tmp_path / "late.mp4", with_sound=True, sound_starts_s=0.5)
    path = write(tmp_path / f"film{codec.suffix}", sound=late, codec=codec)
    sound = np.concatenate(list(stream_pcm(path)))
    assert float(np.abs(sound[: 16000 * 2 // 5]).max()) < 0.02
    assert float(np.abs(sound[16000 * 3 // 5 : 16000]).max()) > 0.3


def test_sound_may_come_as_samples_and_is_woven_in_as_the_film_goes(tmp_path: Path) -> None:
    taken = 0

    def pieces() -> Any:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield np.full((2, 4800), 0.25, np.float32)

    with FilmWriter(tmp_path / "film.webm", width=64, height=48, fps=10, codec="vp9", sound=pieces()) as film:
        film.write(card())
        film.write(card())
        assert 1 <= taken < 10
        for _ in range(48):
            film.write(card())
    assert taken == 50


def test_a_file_without_sound_gives_a_film_without(tmp_path: Path) -> None:
    silent = video(tmp_path / "mute.mp4", with_sound=False)
    with opened_film(write(tmp_path / "film.mp4", sound=silent)) as film:
        assert not film.has_audio


def test_a_long_film_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    path = write(tmp_path / "long.mp4", frames=300, size=(160, 120), sound=wav(tmp_path / "tone.wav", tone, seconds=9))
    tracemalloc.start()
    with (
        opened_film(path, threads=1) as film,
        FilmWriter(
            tmp_path / "again.mp4", width=160, height=120, fps=film.fps, sound=path, threads=1, preset="ultrafast"
        ) as new,
    ):
        for frame in film.frames(fps=film.fps):
            new.write(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert new.frames_written == 300
    assert peak < 20 * 160 * 120 * 3  # of 300 frames


def test_what_is_no_film_is_refused_as_bad_media(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    concat = tmp_path / "list.txt"
    concat.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n")
    for path, code in (
        (garbage(tmp_path), "broken_media"),
        (truncated_mp4(tmp_path), "broken_media"),
        (playlist, "broken_media"),
        (concat, "broken_media"),
        (wav(tmp_path / "tone.wav", tone), "no_video_track"),
    ):
        with pytest.raises(BadMedia) as caught, opened_film(path):
            pass
        assert caught.value.code == code


def test_a_film_with_damaged_packets_gives_what_can_be_decoded(tmp_path: Path) -> None:
    path = filmed(tmp_path / "film.mp4", [Fraction(n, 20) for n in range(40)])
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    middle = begin + (len(data) - begin) // 2
    data[middle : middle + 60] = bytes(60)
    path.write_bytes(data)
    with opened_film(path, threads=1) as film:
        assert 10 <= sum(1 for _ in film.frames()) <= 40


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0}, {"fps": 0}, {"fps": 1000}, {"crf": 52}, {"alpha": True}, {"path": "film.webm"},
        {"width": 20_000, "height": 20_000},
    ],
)  # fmt: skip
def test_a_film_that_cannot_be_is_refused_before_a_file_is_made(tmp_path: Path, wrong: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"path": "film.mp4", "width": 64, "height": 48, "fps": 10, **wrong}
    path = tmp_path / asked.pop("path")
    with pytest.raises(ValueError):
        FilmWriter(path, **asked)
    assert not path.exists()


def test_a_frame_of_another_size_is_refused_and_an_error_leaves_no_open_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="48, 64, 3"),
        FilmWriter(tmp_path / "film.mp4", width=64, height=48, fps=10) as film,
    ):
        film.write(card(32, 32))
    with pytest.raises(ValueError, match="needs a frame"), FilmWriter(tmp_path / "b.mp4", width=64, height=48, fps=10):
        pass

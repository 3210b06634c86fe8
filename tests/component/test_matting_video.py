"""Matting of videos: alpha or green screen out, upright, with its sound; what is no video is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from engine_world import DATA, Line, fetched, probed
from PIL import Image

from springtide.domain.errors import BadMedia, SpringtideError
from springtide.domain.model import FileField
from springtide.engines.binding import file_fields
from springtide.engines.matting import clips
from springtide.engines.matting.isnet import FAST_MODEL, IsnetMatting
from springtide.engines.matting.masks import Steady
from springtide.engines.matting.networks import ISNET
from springtide.engines.matting.schema import Input, Output, Quality
from springtide.engines.protocol import Cancelled, InputFile
from springtide.media.film import FilmWriter, opened_film
from springtide.media.probe import probe
from springtide.testing import media
from springtide.testing import media_makers as makers

pytestmark = pytest.mark.xdist_group("engines")


class LeftHalf:
    """A network that finds the left half of everything."""

    spec = ISNET
    size = (64, 64)
    is_on_gpu = False

    def __call__(self, picture: Image.Image) -> np.ndarray[Any, Any]:
        mask = np.zeros((64, 64), np.float32)
        mask[:, :32] = 1.0
        return mask


@pytest.fixture
def half() -> IsnetMatting:
    engine = IsnetMatting({"threads": 2}, Path("unused"))
    engine._networks = dict.fromkeys(Quality, LeftHalf())  # type: ignore[arg-type]
    engine._beside = engine._networks[Quality.BEST]
    return engine


def cut(engine: IsnetMatting, path: Path, line: Line, **options: Any) -> Output:
    return engine.run(Input(video=probed(path, "video/*"), **options), line)


def shown(path: Path, *, alpha: bool = False) -> list[np.ndarray[Any, Any]]:
    with opened_film(path) as film:
        assert film.has_alpha == alpha
        return list(film.frames(alpha=alpha))


def near(pixel: Any, colour: tuple[int, ...], tolerance: int = 12) -> bool:
    return all(abs(int(one) - other) <= tolerance for one, other in zip(pixel, colour, strict=True))


@pytest.mark.parametrize(("format_", "kind"), [("webm", "video/webm"), ("mov", "video/quicktime")])
def test_a_video_keeps_its_frames_and_sound_and_gets_transparency(
    half: IsnetMatting, tmp_path: Path, format_: str, kind: str
) -> None:
    line = Line(tmp_path / "job")
    output = cut(half, makers.video_with_sound(tmp_path), line, format=format_)
    assert (output.frames, output.width, output.height, output.cutout.media_type) == (10, 64, 48, kind)
    frames = shown(output.cutout.path, alpha=True)
    assert len(frames) == 10
    assert frames[5][24, 8, 3] > 250
    assert frames[5][24, 56, 3] < 5
    with opened_film(output.cutout.path) as film:
        assert film.has_audio
        assert film.fps == pytest.approx(10)
    mask = shown(output.mask.path)
    assert (len(mask), output.mask.media_type) == (10, "video/mp4")
    assert near(mask[5][24, 8], (255, 255, 255))
    assert near(mask[5][24, 56], (0, 0, 0))
    assert line.fractions == sorted(line.fractions)
    assert set(line.stages) <= set(IsnetMatting.stages)
    assert output.model == ISNET.name


def test_without_transparency_the_background_is_green_or_what_was_asked_for(half: IsnetMatting, tmp_path: Path) -> None:
    path = makers.video_without_sound(tmp_path)
    green = cut(half, path, Line(tmp_path / "green"), format="mp4")
    assert near(shown(green.cutout.path)[3][24, 56], (0, 177, 64))
    red = cut(half, path, Line(tmp_path / "red"), background="#c00")
    assert near(shown(red.cutout.path)[3][24, 56], (204, 0, 0))
    assert red.cutout.media_type == "video/webm", "on a background there is no transparency, in any format"
    Image.new("RGB", (30, 30), "blue").save(tmp_path / "blue.png")
    behind = probed(tmp_path / "blue.png", "image/*")
    blue = cut(half, path, Line(tmp_path / "blue"), format="mov", background_image=behind)
    assert near(shown(blue.cutout.path)[3][24, 56], (0, 0, 255))
    with opened_film(path) as film:
        original = next(film.frames())
    assert near(shown(blue.cutout.path)[0][24, 8], tuple(original[24, 8]), 16)


def test_nothing_of_the_background_is_left_under_transparency(half: IsnetMatting, tmp_path: Path) -> None:
    """White on the left, a pattern on the right: where it was, the subject's white goes on."""
    with FilmWriter(tmp_path / "pattern.mp4", width=64, height=48, fps=10, crf=4) as film:
        pixels = np.full((48, 64, 3), 255, np.uint8)
        pixels[:, 36::8] = 0
        for _ in range(3):
            film.write(pixels)
    output = cut(half, tmp_path / "pattern.mp4", Line(tmp_path / "job"), format="mov")
    frame = shown(output.cutout.path, alpha=True)[1]
    assert frame[:, 40:, :3].min() > 230


def test_a_film_from_a_phone_held_sideways_is_cut_out_upright(half: IsnetMatting, tmp_path: Path) -> None:
    """At a variable rate: the frames come at the average one, for half a second as before."""
    times = [Fraction(0), Fraction(1, 30), Fraction(3, 30), Fraction(4, 30), Fraction(9, 30), Fraction(1, 2)]
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        stream.set_display_rotation(90)
        for time in times:
            frame = VideoFrame.from_image(media.picture((64, 48)))
            frame.pts, frame.time_base = int(time * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    output = cut(half, tmp_path / "phone.mp4", Line(tmp_path / "job"))
    assert (output.width, output.height) == (48, 64)
    with opened_film(output.cutout.path) as film:
        assert film.duration_s == pytest.approx(0.53, abs=0.1)


def test_odd_sides_grow_by_a_pixel_and_one_frame_is_a_video(half: IsnetMatting, tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "odd.mov", width=33, height=17, fps=12, codec="prores") as film:
        film.write(np.full((17, 33, 3), 90, np.uint8))
    output = cut(half, tmp_path / "odd.mov", Line(tmp_path / "job"))
    assert (output.frames, output.width, output.height) == (1, 34, 18)


def test_transparency_that_is_there_already_stays(half: IsnetMatting, tmp_path: Path) -> None:
    with FilmWriter(tmp_path / "half.mov", width=64, height=48, fps=10, codec="prores", alpha=True) as film:
        pixels = np.full((48, 64, 4), 200, np.uint8)
        pixels[:24, :, 3] = 0
        film.write(pixels)
    frame = shown(cut(half, tmp_path / "half.mov", Line(tmp_path / "job"), format="mov").cutout.path, alpha=True)[0]
    assert frame[12, 8, 3] < 5
    assert abs(int(frame[36, 8, 3]) - 200) < 8


def test_frames_are_read_no_further_ahead_than_they_are_looked_at(tmp_path: Path) -> None:
    """However long a video is: as many frames in memory as lanes, and two."""
    read = written = most = 0

    class Endless:
        has_alpha = False

        def frames(self, **_options: Any) -> Iterator[np.ndarray[Any, Any]]:
            nonlocal read
            for _ in range(500):
                read += 1
                yield np.zeros((8, 8, 3), np.uint8)

    for _ in clips._seen(Endless(), 25.0, LeftHalf(), 2):  # type: ignore[arg-type]
        written += 1
        most = max(most, read - written)
    assert (written, most) == (500, 2)


def test_frames_are_looked_at_one_by_one_after_memory_ran_out() -> None:
    class Film:
        has_alpha = False

        def frames(self, **_options: Any) -> Iterator[np.ndarray[Any, Any]]:
            yield from (np.full((8, 8, 3), number, np.uint8) for number in range(12))

    at_once: list[int] = []
    running = 0
    lock = threading.Lock()
    both = threading.Barrier(2)

    class Greedy(LeftHalf):
        """Memory for one at a time. The first two meet, so that it is known to run out."""

        def __call__(self, picture: Image.Image) -> np.ndarray[Any, Any]:
            nonlocal running
            with lock:
                running += 1
                mine = running
                is_first = len(at_once) < 2
                at_once.append(mine)
            if is_first:
                both.wait(60)
            with lock:
                running -= 1
            if is_first:
                raise MemoryError
            return super().__call__(picture)

    seen = [int(pixels[0, 0, 0]) for pixels, _ in clips._seen(Film(), 25.0, Greedy(), 2)]  # type: ignore[arg-type]
    assert seen == list(range(12))
    assert max(at_once[4:]) == 1


def test_a_cancel_ends_a_video_in_the_middle(half: IsnetMatting, tmp_path: Path) -> None:
    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None) -> None:
            super().__call__(fraction, stage)
            if fraction > 0.3:
                raise Cancelled

    line = Cancelling(tmp_path / "job")
    with pytest.raises(Cancelled):
        cut(half, makers.video_without_sound(tmp_path), line)
    assert line.fractions[-1] < 0.5


def test_what_the_network_is_unsure_of_follows_slowly_and_a_cut_at_once() -> None:
    dark, light = Image.new("RGB", (64, 36), "black"), Image.new("RGB", (64, 36), "white")
    unsure, sure = np.full((4, 4), 0.5, np.float32), np.ones((4, 4), np.float32)
    steady = Steady()
    steady(sure, dark)
    assert steady(unsure, dark)[0, 0] > 0.85, "a flicker"
    assert steady(np.zeros((4, 4), np.float32), dark)[0, 0] == 0, "a movement"
    steady(sure, dark)
    assert steady(unsure, light)[0, 0] == 0.5, "another shot"


def test_a_person_is_found_in_every_frame_by_the_fast_network(tmp_path: Path) -> None:
    engine = IsnetMatting({"threads": 1}, fetched(FAST_MODEL))
    engine._networks = {Quality.FAST: engine._open_fast()}
    with Image.open(DATA / "portrait.jpg") as portrait, FilmWriter(
        tmp_path / "pan.mp4", width=256, height=256, fps=10, preset="ultrafast"
    ) as film:  # fmt: skip
        small = portrait.resize((320, 320))
        for number in range(6):
            film.write(np.asarray(small.crop((8 * number, 0, 256 + 8 * number, 256))))
    output = cut(engine, tmp_path / "pan.mp4", Line(tmp_path / "job"), quality="fast", format="mp4")
    masks = shown(output.mask.path)
    for number, mask in enumerate(masks):
        face_x = round(225 * 320 / 512) - 8 * number
        assert mask[68, face_x].min() > 240
        assert mask[10, 250].max() < 15
    assert output.model == "mediapipe-selfie-segmentation"


def field(name: str) -> FileField:
    return next(one for one in file_fields(Input) if one.name == name)


def long_video(folder: Path) -> Path:
    """Eleven minutes, of few frames."""
    with FilmWriter(folder / "long.mp4", width=16, height=16, fps=0.05, preset="ultrafast") as film:
        for _ in range(33):
            film.write(np.zeros((16, 16, 3), np.uint8))
    return folder / "long.mp4"


def huge_frames(folder: Path) -> Path:
    with FilmWriter(folder / "8k.mp4", width=7680, height=4320, fps=1, preset="ultrafast") as film:
        film.write(np.zeros((4320, 7680, 3), np.uint8))
    return folder / "8k.mp4"


def sound_in_mp4(folder: Path) -> Path:
    return media.encoded(folder / "sound.mp4", "aac", seconds=0.5)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (makers.zero_bytes, "empty_file"),
        (makers.text_named_jpg, "wrong_media_type"),
        (makers.rotated_jpeg, "wrong_media_type"),
        (makers.animated_gif, "wrong_media_type"),
        (makers.silence_wav, "wrong_media_type"),
        (sound_in_mp4, None),
        (makers.truncated_mp4, "broken_media"),
        (makers.garbage, None),
        (makers.heic, None),
        (long_video, "too_long"),
        (huge_frames, "too_many_pixels"),
    ],
)
def test_what_is_no_video_to_cut_out_is_refused_before_the_job_is_accepted(
    tmp_path: Path, make: Any, code: str | None
) -> None:
    with pytest.raises(SpringtideError) as caught:
        probe(make(tmp_path), field("video"))
    assert caught.value.message
    assert code is None or caught.value.code == code


@pytest.mark.parametrize("make", [makers.truncated_mp4, makers.silence_wav, makers.broken_wav])
def test_what_cannot_be_decoded_after_all_is_the_callers_fault(half: IsnetMatting, tmp_path: Path, make: Any) -> None:
    given = InputFile(path=make(tmp_path), media_type="video/mp4", bytes=1)
    with pytest.raises(BadMedia):
        half.run(Input(video=given), Line(tmp_path / "job"))


def test_a_damaged_middle_is_passed_over(half: IsnetMatting, tmp_path: Path) -> None:
    path = media.video(tmp_path / "hurt.webm", with_sound=False, seconds=2.0)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(bytes(data))
    output = half.run(Input(video=InputFile(path=path, media_type="video/webm", bytes=1)), Line(tmp_path / "job"))
    assert output.frames
    assert output.frames > 5

"""Video previews: a subject that stands before its background when the camera moves, and scenes from words alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_world import DATA, Line, probed, weights_folder
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError
from springtide.engines.protocol import Cancelled
from springtide.engines.provenance import Kind, mark, origin_of
from springtide.engines.provenance_manifest import read_manifest
from springtide.engines.video.parallax import ParallaxPreview, film_size
from springtide.engines.video.parting import _decided
from springtide.engines.video.schema import MOST_PROMPT, Input, Output
from springtide.media.film import opened_film
from springtide.testing import media
from springtide.testing import media_makers as makers

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
SMALL: dict[str, Any] = {"width": 192, "height": 112, "seconds": 0.5, "fps": 12}
Maker = Callable[[Path], Path]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ParallaxPreview:
    """The engine with a network that finds a disc in the middle of everything."""
    mask = Image.new("L", (256, 256))
    ImageDraw.Draw(mask).ellipse((80, 80, 176, 176), fill=255)
    monkeypatch.setattr(ParallaxPreview, "_mask", lambda _self, _picture: mask)
    return ParallaxPreview({}, Path("unused"))


def run(engine: ParallaxPreview, line: Line, *, image: Path | None = None, **options: Any) -> Output:
    picture = None if image is None else probed(image, "image/*")
    return engine.run(Input(image=picture, **{**SMALL, **options}), line)


def frames_of(output: Output) -> list[NDArray[np.uint8]]:
    with opened_film(output.video.path) as film:
        assert (film.width, film.height) == (output.width, output.height)
        frames = list(film.frames())
    assert len(frames) == output.frames
    return frames


def shift_of(one: NDArray[np.uint8], other: NDArray[np.uint8], box: tuple[int, int, int, int]) -> int:
    """How many pixels to the right the part in `box` (left, top, right, bottom) went from one frame to the other."""
    left, top, right, bottom = box
    part = one[top:bottom, left:right].astype(float)

    def unlike(by: int) -> float:
        return float(np.abs(other[top:bottom, left + by : right + by] - part).mean())

    return min(range(-48, 49), key=unlike)


def disc_on_wall(folder: Path, size: tuple[int, int] = (640, 360)) -> Path:
    """A red disc where the test's network finds one, on a wall of many blues."""
    blues = np.random.default_rng(1).integers(120, 250, (18, 32), np.uint8)
    blue = Image.fromarray(blues).resize(size, Image.Resampling.BICUBIC)
    picture = Image.merge("RGB", (Image.new("L", size, 30), Image.new("L", size, 40), blue))
    draw = ImageDraw.Draw(picture)
    across, down = size[0] / 256, size[1] / 256
    draw.ellipse((80 * across, 80 * down, 176 * across, 176 * down), fill=(230, 20, 20))
    picture.save(folder / "disc.png")
    return folder / "disc.png"


def test_the_astronaut_stays_while_the_room_moves_behind_her(tmp_path: Path) -> None:
    """With the real network."""
    engine = ParallaxPreview({}, weights_folder(ParallaxPreview))
    engine.load()
    line = Line(tmp_path / "job")
    output = run(engine, line, image=PORTRAIT, prompt="镜头环绕", width=416, height=240, seconds=1, fps=8)
    assert (output.camera, output.has_subject, output.generative) == (["orbit"], True, False)
    first, *_, last = frames_of(output)
    face, shuttle = (150, 60, 190, 100), (300, 60, 340, 110)
    assert abs(shift_of(first, last, face)) <= 4
    assert shift_of(first, last, shuttle) >= 12
    assert line.stages == ParallaxPreview.stages
    assert line.fractions == sorted(line.fractions)
    assert len([stage for _, stage in line.heard if stage == "render"]) == 8
    with Image.open(output.poster.path) as poster:
        assert (poster.size, poster.format) == ((416, 240), "JPEG")


def test_no_hole_and_no_halo_opens_beside_the_subject(engine: ParallaxPreview, tmp_path: Path) -> None:
    """Red is the subject's, blue the wall's; where the disc was there is wall, and little between the two."""
    path = disc_on_wall(tmp_path)
    output = run(engine, Line(tmp_path / "job"), image=path, prompt="orbit", motion=2, width=320, height=180, crf=8)
    for frame in frames_of(output):
        red, green, blue = (frame[..., n].astype(int) for n in range(3))
        assert (red + green + blue).min() > 100, "black is a hole"
        assert green.max() < 110, "nothing comes in that is not in the picture"
        mixed = (red > 60) & (red < 180) & (blue > 40)
        assert mixed.sum() < 3.5 * np.pi * 68, "a rim of at most a few pixels around a disc of 68"
    first, *_, last = frames_of(output)
    areas = [int((frame[..., 0] > 150).sum()) for frame in frames_of(output)]
    assert max(areas) < 1.2 * min(areas), "there is one disc, not the shadow of another"
    assert shift_of(first, last, (50, 10, 110, 40)) > 10
    middles = [np.argwhere(frame[..., 0] > 150).mean(axis=0)[1] for frame in (first, last)]
    assert abs(middles[1] - middles[0]) < 4, "the subject stays"


@pytest.mark.parametrize(
    ("camera", "grows"), [("zoom_in", True), ("zoom_out", False), ("still", None), ("handheld", None)]
)
def test_the_camera_asked_for_by_name_is_the_one_that_films(
    engine: ParallaxPreview, tmp_path: Path, camera: str, grows: bool | None
) -> None:
    path = disc_on_wall(tmp_path)
    output = run(engine, Line(tmp_path / "job"), image=path, prompt="pan left", camera=camera)
    assert (output.camera, output.understood) == ([camera], [])
    assert [item.meaning for item in output.set_aside] == ["camera: pan_left"]
    first, *_, last = ((frame[..., 0] > 150).sum() for frame in frames_of(output))
    assert abs(last / first - 1) < 0.03 if grows is None else (last > 1.2 * first if grows else first > 1.2 * last)


def test_the_same_seed_gives_the_same_file_and_another_seed_another(engine: ParallaxPreview, tmp_path: Path) -> None:
    def film(name: str, **options: Any) -> bytes:
        return run(
            engine, Line(tmp_path / name), image=PORTRAIT, prompt="snow, orbit", **options
        ).video.path.read_bytes()

    first = film("one", seed=7)
    assert first == film("two", seed=7)
    assert first != film("three", seed=8)


def test_the_film_says_what_made_it_and_a_picture_a_model_made_stays_one(
    engine: ParallaxPreview, tmp_path: Path
) -> None:
    film = run(engine, Line(tmp_path / "plain"), prompt="sea", seconds=0.25)
    origin = origin_of(film.video.path)
    assert origin is not None
    assert (origin.kind, origin.facts["engine"], origin.facts["generative"]) == (
        Kind.ALGORITHMIC, "parallax-preview", False,
    )  # fmt: skip
    picture = disc_on_wall(tmp_path)
    mark(picture, made=film, kind=Kind.GENERATED, title="A disc")
    moved = run(engine, Line(tmp_path / "moved"), image=picture, seconds=0.25)
    for path in (moved.video.path, moved.poster.path):
        handed_on = origin_of(path)
        assert handed_on is not None
        assert handed_on.kind is Kind.GENERATED
    signed = run(
        ParallaxPreview({"signed": True}, Path("unused")), Line(tmp_path / "signed"), prompt="sea", seconds=0.25
    )
    assert read_manifest(signed.video.path)
    assert not read_manifest(film.video.path)


@pytest.mark.parametrize(
    "prompt",
    [
        "雪夜的森林，镜头推近",
        "rain over a neon city at night",
        "sunset over the sea, mountains",
        "snowy mountains, foggy",
        "desert dunes, dust",
        "草原上的日出",
        "above the clouds",
        "galaxy",
        "something nobody has a word for",
        "black and white forest",
    ],
)
def test_words_alone_give_a_scene_with_things_in_it(engine: ParallaxPreview, tmp_path: Path, prompt: str) -> None:
    output = run(engine, Line(tmp_path / "job"), prompt=prompt, seconds=0.25)
    assert (output.has_subject, output.generative, output.model) == (False, False, "none")
    first, *_, last = frames_of(output)
    assert first.std() > 8, "not one colour"
    assert first.min() < first.max() - 60
    assert np.abs(last.astype(int) - first).mean() > 0.3, "the camera moves"
    grey = int(np.ptp(first.astype(int), axis=2).max()) < 12
    assert grey is prompt.startswith("black and white")


def test_scenes_differ_by_words_and_by_seed(engine: ParallaxPreview, tmp_path: Path) -> None:
    def look(name: str, prompt: str, seed: int = 0) -> NDArray[np.uint8]:
        return frames_of(run(engine, Line(tmp_path / name), prompt=prompt, seed=seed, seconds=0.25))[0]

    night, day = look("night", "mountains at night"), look("day", "mountains")
    assert night.mean() < 0.5 * day.mean()
    assert np.abs(look("other", "mountains", seed=1).astype(int) - day).mean() > 5


def test_what_was_understood_is_told_and_nothing_else(engine: ParallaxPreview, tmp_path: Path) -> None:
    prompt = 'A cat "dances" 🐈 in the snow, zoom in, then zoom out; no rain'
    output = run(engine, Line(tmp_path / "job"), prompt=prompt)
    assert [(item.words, item.meaning) for item in output.understood] == [
        ("snow", "effect: snow"),
        ("zoom in", "camera: zoom_in"),
    ]
    assert [item.words for item in output.set_aside] == ["zoom out"]
    assert output.engine == "parallax-preview"


ODD: dict[str, Maker] = {
    **{name: make for name, make in makers.ODD_PICTURES.items() if name != "40 megapixels"},
    "8 x 8": lambda folder: _saved(folder, (8, 8)),
    "panorama": lambda folder: _saved(folder, (8000, 300)),
    "tower": lambda folder: _saved(folder, (300, 4000)),
}


def _saved(folder: Path, size: tuple[int, int]) -> Path:
    media.picture(size).save(folder / "odd.png")
    return folder / "odd.png"


@pytest.mark.parametrize("name", sorted(ODD))
def test_an_odd_picture_is_filmed_without_borders(name: str, engine: ParallaxPreview, tmp_path: Path) -> None:
    path = ODD[name](tmp_path)
    output = run(engine, Line(tmp_path / "job"), image=path, prompt="pan right, handheld", width=None, height=128)
    assert output.height == 128
    assert 1 / 2.4 < output.width / output.height < 2.4
    assert len(frames_of(output)) == 6


@pytest.mark.parametrize("camera", ["orbit", "pan_left", "rise", "fall", "zoom_out", "handheld"])
def test_a_white_picture_stays_white_to_its_edges(engine: ParallaxPreview, tmp_path: Path, camera: str) -> None:
    Image.new("RGB", (200, 120), "white").save(tmp_path / "white.png")
    output = run(engine, Line(tmp_path / "job"), image=tmp_path / "white.png", camera=camera, motion=2)
    assert min(int(frame.min()) for frame in frames_of(output)) > 150, "only the corners are a little darker"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (832, 480)),
        ({"width": 640}, (640, 370)),
        ({"height": 721}, (1250, 720)),
        ({"width": 65, "height": 65}, (64, 64)),
        ({"width": 1920, "height": 1088}, (1920, 1088)),
    ],
)
def test_a_film_has_the_size_asked_for_made_even(options: dict[str, int], size: tuple[int, int]) -> None:
    assert film_size(Input(prompt="sea", **options), None) == size


def test_a_film_takes_its_shape_from_the_picture_within_reason() -> None:
    assert film_size(Input(prompt="x"), (1000, 1000)) == (632, 632)
    assert film_size(Input(prompt="x"), (3000, 4000)) == (548, 730)
    width, height = film_size(Input(prompt="x"), (8000, 300))
    assert width / height == pytest.approx(21 / 9, rel=0.01)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "give image, prompt or both"),
        ({"prompt": " \n\t"}, "give image, prompt or both"),
        ({"prompt": "推" * 10_000}, f"at most {MOST_PROMPT}"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x", "width": 63}, "width"),
        ({"prompt": "x", "height": 1922}, "height"),
        ({"prompt": "x", "width": 1920, "height": 1920}, "at most 2088960 pixels"),
        ({"prompt": "x", "seconds": 0}, "seconds"),
        ({"prompt": "x", "seconds": 30.1}, "seconds"),
        ({"prompt": "x", "fps": 0}, "fps"),
        ({"prompt": "x", "fps": 61}, "fps"),
        ({"prompt": "x", "fps": float("nan")}, "fps"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "motion": 2.1}, "motion"),
        ({"prompt": "x", "camera": "dive"}, "camera"),
        ({"prompt": "x", "crf": 41}, "crf"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Input(**options)


@pytest.mark.parametrize("prompt", ["🎬", "\"'`$(rm)", "\u202e反\x00", "zoom in " * 250])
def test_any_text_within_the_limit_makes_a_film(engine: ParallaxPreview, tmp_path: Path, prompt: str) -> None:
    assert frames_of(run(engine, Line(tmp_path / "job"), prompt=prompt, seconds=0.25))


def test_the_shortest_and_the_slowest_film_have_two_frames(engine: ParallaxPreview, tmp_path: Path) -> None:
    output = run(engine, Line(tmp_path / "job"), prompt="sea", seconds=0.25, fps=1)
    assert (output.frames, output.duration_s) == (2, 2.0)


def test_a_cancel_is_heard_between_frames(engine: ParallaxPreview, tmp_path: Path) -> None:
    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None) -> None:
            super().__call__(fraction, stage)
            if fraction > 0.6:
                raise Cancelled

    line = Cancelling(tmp_path / "job")
    with pytest.raises(Cancelled):
        run(engine, line, prompt="sea", seconds=1)
    assert len(line.heard) < 10


def test_a_picture_that_does_not_decode_is_the_callers_fault(engine: ParallaxPreview, tmp_path: Path) -> None:
    image = probed(PORTRAIT, "image/*").model_copy(update={"path": makers.truncated_jpeg(tmp_path)})
    with pytest.raises(BadMedia):
        engine.run(Input(image=image, **SMALL), Line(tmp_path / "job"))


def test_more_frames_and_larger_ones_are_estimated_to_take_longer(engine: ParallaxPreview) -> None:
    def estimate(**options: Any) -> float:
        return engine.estimate(Input(**{"prompt": "sea", **options}))

    assert estimate() < estimate(seconds=10) < estimate(seconds=10, fps=30)
    assert estimate(width=416, height=240) < estimate()
    assert estimate() < estimate(prompt="sea, rain") < estimate(image=probed(PORTRAIT, "image/*"), prompt="rain")


def test_a_missing_model_file_and_wrong_settings_are_told_before_a_job_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="springtide models pull"):
        ParallaxPreview({}, tmp_path).load()
    with pytest.raises(ConfigError, match=r"video.*threads.*0"):
        ParallaxPreview({"threads": 0}, tmp_path)


def test_what_the_network_doubts_is_taken_for_one_thing_and_edges_stay_soft() -> None:
    alpha = np.zeros((200, 300), np.float32)
    alpha[:, :100] = np.clip((60 - np.arange(100)) / 8 + 0.5, 0, 1)  # an edge eight pixels wide
    alpha[:, 150:220], alpha[:, 220:] = 0.5, 0.2
    decided = _decided(alpha, 12)
    assert np.abs(decided[:, :100] - alpha[:, :100]).max() < 0.05
    assert decided[100, 185] == 1.0
    assert decided[100, 270] < 0.1

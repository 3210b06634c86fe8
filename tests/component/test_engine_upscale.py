"""Upscaling: tiles leave no seam, memory that runs out makes smaller ones, pictures and films stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from engine_world import DATA, Line, probed, weights_folder
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.protocol import Cancelled
from springtide.engines.provenance import Kind, origin_of
from springtide.engines.upscaling.engine import Upscale
from springtide.engines.upscaling.models import ANIMEVIDEO, X4PLUS
from springtide.engines.upscaling.networks import TILES, TileShape, Upscaler, _boxes
from springtide.engines.upscaling.schema import Input, Output, Quality
from springtide.media.film import Codec, FilmWriter, opened_film
from springtide.testing import media
from springtide.testing import media_makers as makers
from springtide.testing.engine_suite import EngineContract

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
FACE = (180, 70, 276, 150)


class TestTheContract(EngineContract):
    engine = "springtide.engines.upscaling.engine:Upscale"
    inputs: ClassVar = {"image": PORTRAIT}
    refused_settings = ({"threads": 0},)
    refused_inputs = ({"scale": 3}, {"format": "mp4"}, {"crf": 20})


@pytest.fixture(scope="module")
def engine() -> Upscale:
    engine = Upscale({}, weights_folder(Upscale))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def fast(engine: Upscale) -> Upscaler:
    return engine._networks[Quality.FAST]


@pytest.fixture(scope="module")
def face() -> Image.Image:
    with Image.open(PORTRAIT) as portrait:
        return portrait.crop(FACE)


def run(engine: Upscale, path: Path, folder: Path, **options: Any) -> Output:
    line = Line(folder / "job")
    output = engine.run(Input(image=probed(path, "image/*"), **options), line)
    assert line.fractions == sorted(line.fractions)
    assert line.stages == Upscale.stages
    return output


def run_film(engine: Upscale, path: Path, folder: Path, **options: Any) -> Output:
    line = Line(folder / "job")
    output = engine.run(Input(video=probed(path, "video/*"), **options), line)
    assert line.fractions == sorted(line.fractions)
    return output


def detail(picture: Image.Image) -> float:
    """Mean strength of edges."""
    grey = np.asarray(picture.convert("L")).astype(np.float32)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


class Plain:
    """Stands where a session is: each pixel becomes four by four. May lack memory for what is larger than `most`."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.seen: list[tuple[int, int]] = []

    def get_inputs(self) -> list[Any]:
        return [type("Input", (), {"name": "data"})]

    def run(self, _names: None, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        picture = given["data"]
        if picture.shape[2] * picture.shape[3] > self.most:
            raise RuntimeError("BFCArena: Failed to allocate memory for requested buffer of size 1073741824")
        self.seen.append(picture.shape[2:])
        return [picture.repeat(4, 2).repeat(4, 3)]


@pytest.mark.parametrize("quality", ["best", "fast"])
def test_a_picture_becomes_larger_with_detail_of_its_own(
    quality: str, engine: Upscale, face: Image.Image, tmp_path: Path
) -> None:
    small = face.resize((32, 26), Image.Resampling.LANCZOS)
    small.save(tmp_path / "small.png")
    output = run(engine, tmp_path / "small.png", tmp_path, quality=quality)
    assert (output.width, output.height, output.frames) == (64, 52, None)
    with Image.open(output.result.path) as made:
        assert made.size == (64, 52)
        resampled = small.resize(made.size, Image.Resampling.BICUBIC)
        assert detail(made) > 1.1 * detail(resampled)
        assert np.abs(np.asarray(made).astype(int) - np.asarray(resampled)).mean() < 16
    assert output.model.endswith({"best": "x4plus", "fast": "animevideov3"}[quality])
    assert output.generative is True
    origin = origin_of(output.result.path)
    assert origin is not None
    assert origin.kind is Kind.COMPOSITE


def test_tiles_of_the_fast_network_give_the_whole_picture_to_the_last_bit(fast: Upscaler, face: Image.Image) -> None:
    rgb = np.asarray(face)
    whole = fast.enlarge(rgb, scale=4, on_part=lambda _part: None)
    tiled = Upscaler(fast._session, TileShape(40, TILES[ANIMEVIDEO].rim))
    told: list[float] = []
    assert np.array_equal(tiled.enlarge(rgb, scale=4, on_part=told.append), whole)
    assert len(told) == 6
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_every_pixel_is_filled_once_from_its_own_place(scale: int) -> None:
    network = Plain()
    rgb = np.random.default_rng(1).integers(0, 255, (101, 53, 3), dtype=np.uint8)
    made = Upscaler(network, TileShape(30, 7)).enlarge(rgb, scale=scale, on_part=lambda _part: None)  # type: ignore[arg-type]
    assert np.array_equal(made, rgb.repeat(scale, 0).repeat(scale, 1))
    assert max(max(size) for size in network.seen) <= 30 + 2 * 7


def test_boxes_cover_a_picture_without_overlap() -> None:
    for height, width, side in ((1, 1, 30), (100, 31, 30), (29, 4000, 348)):
        covered = np.zeros((height, width), int)
        for box in _boxes(height, width, side):
            covered[box.top : box.bottom, box.left : box.right] += 1
            assert box.bottom - box.top <= side >= box.right - box.left
        assert covered.min() == covered.max() == 1


def test_where_memory_runs_out_tiles_become_smaller_before_anything_fails() -> None:
    network = Plain(most=80 * 80)
    rgb = np.random.default_rng(1).integers(0, 255, (150, 130, 3), dtype=np.uint8)
    made = Upscaler(network, TileShape(150, 4)).enlarge(rgb, scale=2, on_part=lambda _part: None)  # type: ignore[arg-type]
    assert np.array_equal(made, rgb.repeat(2, 0).repeat(2, 1))
    assert len(network.seen) == 4
    with pytest.raises(MemoryError, match="32 x 32"):
        Upscaler(Plain(most=10), TileShape(150, 4)).enlarge(rgb, scale=2, on_part=lambda _part: None)  # type: ignore[arg-type]


def test_another_error_of_the_network_is_no_lack_of_memory() -> None:
    class Broken(Plain):
        def run(self, _names: None, given: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            raise RuntimeError("Got invalid dimensions")

    with pytest.raises(RuntimeError, match="dimensions"):
        Upscaler(Broken(), TileShape(150, 4)).enlarge(  # type: ignore[arg-type]
            np.zeros((9, 9, 3), np.uint8), scale=2, on_part=lambda _part: None
        )


@pytest.mark.parametrize("name", sorted(set(makers.ODD_PICTURES) - {"40 megapixels"}))
def test_an_odd_picture_becomes_twice_as_large(name: str, engine: Upscale, tmp_path: Path) -> None:
    from springtide.media.images import open_rgba

    path = makers.ODD_PICTURES[name](tmp_path)
    upright = open_rgba(path)
    output = run(engine, path, tmp_path, quality="fast")
    with Image.open(output.result.path) as made:
        assert made.size == (upright.width * 2, upright.height * 2)
        wanted = upright.getchannel("A").resize(made.size, Image.Resampling.BICUBIC)
        assert made.convert("RGBA").getchannel("A").tobytes() == wanted.tobytes()


def test_grey_stays_grey_and_what_hides_under_transparency_does_not_show(
    engine: Upscale, face: Image.Image, tmp_path: Path
) -> None:
    face.convert("L").save(tmp_path / "grey.png")
    with Image.open(run(engine, tmp_path / "grey.png", tmp_path, quality="fast").result.path) as made:
        assert made.mode == "L"
    disc = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    disc.paste((250, 240, 230, 255), (0, 0, 32, 64))
    disc.save(tmp_path / "disc.png")
    again = tmp_path / "again"
    again.mkdir()
    with Image.open(run(engine, tmp_path / "disc.png", again, quality="fast").result.path) as made:
        rgba = np.asarray(made)
    assert rgba[rgba[..., 3] > 20][:, :3].min() > 200, "no dark fringe"


@pytest.mark.parametrize("format_", ["jpeg", "webp"])
def test_a_picture_is_written_in_the_format_that_is_asked_for(format_: str, engine: Upscale, tmp_path: Path) -> None:
    media.picture((40, 30)).save(tmp_path / "a.png")
    output = run(engine, tmp_path / "a.png", tmp_path, quality="fast", scale=4, format=format_)
    with Image.open(output.result.path) as made:
        assert (made.format, made.size) == (format_.upper(), (160, 120))
    assert output.result.media_type == f"image/{format_}"


def test_a_film_becomes_larger_with_its_sound_and_its_length(
    engine: Upscale, face: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.mp4"
    frames = [np.asarray(face.resize((64, 48)).rotate(angle)) for angle in (0, 0, 0, 3, 6)]
    tone = np.sin(np.arange(9600) / 20, dtype=np.float32)[np.newaxis].repeat(2, 0) * 0.3
    with FilmWriter(path, width=64, height=48, fps=25, crf=1, sound=[tone]) as film:
        for frame in frames:
            film.write(frame)
    network = engine._networks[Quality.FAST]
    calls: list[int] = []
    whole = network.enlarge

    def counted(rgb: NDArray[np.uint8], **options: Any) -> NDArray[np.uint8]:
        calls.append(1)
        return whole(rgb, **options)

    monkeypatch.setattr(network, "enlarge", counted)
    output = run_film(engine, path, tmp_path, crf=10)
    assert (output.width, output.height, output.frames) == (128, 96, 5)
    assert output.result.media_type == "video/mp4"
    assert 3 <= len(calls) <= 5
    with opened_film(output.result.path) as made, opened_film(path) as given:
        assert made.has_audio
        assert origin_of(output.result.path) is not None
        assert made.fps == pytest.approx(25)
        for shown, original in zip(made.frames(), given.frames(), strict=True):
            resampled = Image.fromarray(original).resize((128, 96), Image.Resampling.BICUBIC)
            assert np.abs(shown.astype(int) - np.asarray(resampled)).mean() < 10
            assert detail(Image.fromarray(shown)) > detail(resampled)


def test_a_frame_that_stands_is_drawn_once(engine: Upscale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "still.mov"
    with FilmWriter(path, width=32, height=32, fps=10, codec=Codec.PRORES) as film:
        for _ in range(4):
            film.write(np.full((32, 32, 3), 128, np.uint8))
    network, calls = engine._networks[Quality.FAST], list[int]()
    whole = network.enlarge
    monkeypatch.setattr(network, "enlarge", lambda rgb, **options: (calls.append(1), whole(rgb, **options))[1])
    assert run_film(engine, path, tmp_path, scale=2).frames == 4
    assert len(calls) == 1


def test_a_film_keeps_its_transparency(engine: Upscale, tmp_path: Path) -> None:
    path = tmp_path / "film.mov"
    frame = np.full((32, 48, 4), 200, np.uint8)
    frame[..., 3] = 0
    frame[8:24, 12:36, 3] = 255
    with FilmWriter(path, width=48, height=32, fps=10, codec=Codec.PRORES, alpha=True) as film:
        for _ in range(2):
            film.write(frame)
    output = run_film(engine, path, tmp_path, scale=2)
    assert output.result.media_type == "video/webm"
    with opened_film(output.result.path) as made:
        assert made.has_alpha
        shown = next(iter(made.frames(alpha=True)))
    assert shown.shape == (64, 96, 4)
    assert shown[32, 48, 3] > 240
    assert shown[2, 2, 3] < 15


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "one of the two"),
        ({"image": True, "video": True}, "one of the two"),
        ({"image": True, "format": "mp4"}, "png, jpeg, webp"),
        ({"video": True, "format": "png"}, "mp4, webm, mov"),
        ({"image": True, "crf": 20}, "crf"),
        ({"video": True, "format": "mov", "crf": 20}, "crf"),
        ({"image": True, "scale": 3}, "scale"),
        ({"image": (6000, 4000), "scale": 4}, "384 megapixels"),
        ({"video": (1920, 1080), "scale": 4, "crf": 99}, "crf"),
        ({"video": (2400, 1600), "scale": 4}, "61 megapixels"),
        ({"image": True, "quality": "good"}, "quality"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_it_is_a_job(options: dict[str, Any], told: str) -> None:
    file = probed(PORTRAIT, "image/*")
    given: dict[str, Any] = dict(options)
    for name in ("image", "video"):
        if size := given.get(name):
            width, height = (64, 48) if size is True else size
            given[name] = file.model_copy(update={"width": width, "height": height})
    with pytest.raises(ValidationError, match=told):
        Input(**given)


@pytest.mark.parametrize("maker", [makers.truncated_jpeg, makers.garbage])
def test_a_picture_that_does_not_decode_is_the_callers_fault(maker: Any, engine: Upscale, tmp_path: Path) -> None:
    image = probed(PORTRAIT, "image/*").model_copy(update={"path": maker(tmp_path)})
    with pytest.raises(BadMedia):
        engine.run(Input(image=image), Line(tmp_path / "job"))


def test_a_film_that_does_not_decode_is_the_callers_fault(engine: Upscale, tmp_path: Path) -> None:
    video = probed(PORTRAIT, "image/*").model_copy(update={"path": makers.truncated_mp4(tmp_path)})
    with pytest.raises(BadMedia):
        engine.run(Input(video=video), Line(tmp_path / "job"))


def test_a_picture_wider_than_webp_allows_is_refused_by_name(engine: Upscale, tmp_path: Path) -> None:
    Image.new("RGB", (8_200, 2)).save(tmp_path / "wide.png")
    with pytest.raises(InvalidInput, match="16400x4"):
        run(engine, tmp_path / "wide.png", tmp_path, format="webp")


def test_a_cancel_takes_effect_between_tiles(engine: Upscale, face: Image.Image, tmp_path: Path) -> None:
    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None) -> None:
            super().__call__(fraction, stage)
            if fraction > 0.02:
                raise Cancelled

    face.save(tmp_path / "face.png")
    line = Cancelling(tmp_path / "job")
    with pytest.raises(Cancelled):
        engine.run(Input(image=probed(tmp_path / "face.png", "image/*"), quality="fast"), line)
    assert list(line.folder.iterdir()) == []


def test_pictures_take_the_best_network_and_films_the_fast_one_by_themselves() -> None:
    engine, file = Upscale({}, Path("unused")), probed(PORTRAIT, "image/*")
    film = file.model_copy(update={"duration_s": 2.0})
    assert Input(image=file).chosen_quality is Quality.BEST
    assert Input(video=film).chosen_quality is Quality.FAST
    assert engine.estimate(Input(image=file)) > 10 * engine.estimate(Input(image=file, quality="fast"))
    assert engine.estimate(Input(video=film)) > 20 * engine.estimate(Input(image=file, quality="fast"))
    assert X4PLUS in Upscale.weights
    with pytest.raises(ConfigError, match="threads"):
        Upscale({"threads": 0}, Path("unused"))

"""Matting: the real networks find the subject; any kind of picture comes out as it went in, but for the background."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_world import DATA, Line, probed, weights_folder
from PIL import Image
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.matting import isnet
from springtide.engines.matting.isnet import IsnetMatting
from springtide.engines.matting.networks import ISNET, SIDE
from springtide.engines.matting.pictures import cut_out
from springtide.engines.matting.schema import Input, Output, Quality
from springtide.engines.protocol import Cancelled
from springtide.testing import media
from springtide.testing import media_makers as makers

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
FACE, WALL = (225, 110), (300, 20)


@pytest.fixture(scope="module")
def network() -> Iterator[IsnetMatting]:
    """The engine with its model, loaded once."""
    engine = IsnetMatting({}, weights_folder(IsnetMatting))
    engine.load()
    yield engine
    engine._networks.clear()  # half a gigabyte that no later test needs
    engine._beside = None


class Once:
    """A network that is not asked twice about the same picture: one look of it takes seconds."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._masks: dict[bytes, np.ndarray[Any, Any]] = {}
        self.looks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, picture: Image.Image) -> np.ndarray[Any, Any]:
        seen = picture.tobytes()
        if seen not in self._masks:
            self._masks[seen] = self._network(picture)
            self.looks += 1
        return self._masks[seen].copy()


class LeftHalf:
    """A network that finds the left half of everything: for what is not the network's doing."""

    spec = ISNET
    size = (SIDE, SIDE)
    is_on_gpu = False

    def __call__(self, picture: Image.Image) -> np.ndarray[Any, Any]:
        mask = np.zeros((SIDE, SIDE), np.float32)
        mask[:, : SIDE // 2] = 1.0
        return mask


@pytest.fixture
def half() -> IsnetMatting:
    """The engine with a network that need not be loaded."""
    engine = IsnetMatting({"threads": 1}, Path("unused"))
    engine._networks = dict.fromkeys(Quality, LeftHalf())  # type: ignore[arg-type]
    return engine


def run(engine: IsnetMatting, path: Path, line: Line, **options: Any) -> Output:
    return engine.run(Input(image=probed(path, "image/*"), **options), line)


def opened(output: Output) -> tuple[Image.Image, Image.Image]:
    cutout, mask = Image.open(output.cutout.path), Image.open(output.mask.path)
    cutout.load()
    mask.load()
    assert (cutout.size, mask.size, mask.mode) == ((output.width, output.height),) * 2 + ("L",)
    return cutout, mask


def alpha(mask: Image.Image, at: tuple[int, int]) -> int:
    value = mask.getpixel(at)
    assert isinstance(value, int)
    return value


def test_the_portrait_is_cut_out(network: IsnetMatting, tmp_path: Path) -> None:
    line = Line(tmp_path / "job")
    output = run(network, PORTRAIT, line)
    cutout, mask = opened(output)
    assert (cutout.mode, cutout.size, output.cutout.media_type) == ("RGBA", (512, 512), "image/png")
    assert alpha(mask, FACE) > 240
    assert alpha(mask, WALL) < 15
    assert cutout.getchannel("A").tobytes() == mask.tobytes()
    with Image.open(PORTRAIT) as original:
        assert cutout.getpixel(FACE) == (*original.getpixel(FACE), alpha(mask, FACE))  # type: ignore[misc]
    clear = [pixel for pixel in cutout.get_flattened_data() if pixel[3] == 0]  # type: ignore[index]
    assert len(clear) > 512 * 512 / 10
    assert set(clear) == {(0, 0, 0, 0)}, "nothing of the background is left in the file"
    soft = sum(1 for value in mask.get_flattened_data() if 20 < value < 235)  # type: ignore[operator]
    assert soft > 500, "hair has a soft edge"
    assert line.stages == IsnetMatting.stages
    assert line.fractions == sorted(line.fractions)
    assert (output.engine, output.model, output.license) == ("matting", "isnet-general-use-fp16", "Apache-2.0")
    assert output.generative is False


def test_the_fast_network_finds_people_too(network: IsnetMatting, tmp_path: Path) -> None:
    output = run(network, PORTRAIT, Line(tmp_path / "job"), quality="fast")
    _, mask = opened(output)
    assert alpha(mask, FACE) > 240
    assert alpha(mask, WALL) < 15
    best = opened(run(network, PORTRAIT, Line(tmp_path / "best")))[1]
    apart = np.abs(np.asarray(mask, np.int16) - np.asarray(best, np.int16)).mean() / 255
    assert apart < 0.06
    assert output.model == "mediapipe-selfie-segmentation"
    assert network.estimate(Input(image=probed(PORTRAIT, "image/*"), quality=Quality.FAST)) < 0.5


def test_a_sideways_print_is_cut_out_upright_and_cropped(
    network: IsnetMatting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CMYK, lying on its side with the EXIF tag that says so; WebP out, cropped."""
    networks = {quality: Once(one) for quality, one in network._networks.items()}
    monkeypatch.setattr(network, "_networks", networks)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(PORTRAIT) as original:
        lying = original.convert("CMYK").transpose(Image.Transpose.ROTATE_90)
        lying.save(tmp_path / "print.jpg", exif=exif.tobytes(), quality=92)
    whole, crop = Line(tmp_path / "whole"), Line(tmp_path / "crop")
    _, mask = opened(run(network, tmp_path / "print.jpg", whole))
    assert alpha(mask, FACE) > 240
    assert alpha(mask, WALL) < 15
    output = run(network, tmp_path / "print.jpg", crop, crop=True, format="webp")
    cutout, cropped = opened(output)
    assert (cutout.format, output.cutout.media_type) == ("WEBP", "image/webp")
    box = mask.point(lambda value: 255 if value >= 13 else 0).getbbox()
    assert box is not None
    assert cropped.size == (box[2] - box[0], box[3] - box[1])
    assert cropped.height < 512
    assert sum(one.looks for one in networks.values()) == 1


def test_forty_megapixels_keep_their_size(half: IsnetMatting, tmp_path: Path) -> None:
    output = run(half, makers.large_picture(tmp_path), Line(tmp_path / "job"))
    assert (output.width, output.height) == (8000, 5000)
    assert half.estimate(Input(image=probed(tmp_path / "large.jpg", "image/*"))) > half.estimate(
        Input(image=probed(PORTRAIT, "image/*"))
    )


@pytest.mark.parametrize("name", sorted(set(makers.ODD_PICTURES) - {"40 megapixels"}))
def test_an_odd_picture_keeps_its_size_and_its_colours(name: str, half: IsnetMatting, tmp_path: Path) -> None:
    from springtide.media.images import open_rgba

    path = makers.ODD_PICTURES[name](tmp_path)
    upright = open_rgba(path)
    cutout, mask = opened(run(half, path, Line(tmp_path / "job")))
    assert cutout.size == upright.size
    if upright.width < 2:
        return
    left, right = (upright.width // 8, upright.height // 8), (upright.width - 1, upright.height - 1)
    assert alpha(mask, right) == 0
    assert alpha(mask, left) == upright.getpixel(left)[3]  # type: ignore[index]
    if alpha(mask, left):
        assert cutout.getpixel(left) == upright.getpixel(left)


def test_a_background_is_put_behind_the_subject(half: IsnetMatting, tmp_path: Path) -> None:
    cutout, mask = opened(run(half, PORTRAIT, Line(tmp_path / "job"), background="#0a0"))
    assert cutout.getpixel((500, 250)) == (0, 170, 0, 255)
    with Image.open(PORTRAIT) as original:
        assert cutout.getpixel((10, 250)) == (*original.getpixel((10, 250)), 255)  # type: ignore[misc]
    assert alpha(mask, (500, 250)) == 0, "the mask is still the subject's"


def test_a_picture_is_put_behind_the_subject_filled_to_its_size_and_cropped_with_it(
    half: IsnetMatting, tmp_path: Path
) -> None:
    behind = Image.new("RGB", (300, 100), "red")
    behind.paste("blue", (150, 0, 300, 100))
    behind.save(tmp_path / "behind.png")
    given = {"background_image": probed(tmp_path / "behind.png", "image/*")}
    cutout, _ = opened(run(half, PORTRAIT, Line(tmp_path / "job"), **given))
    assert cutout.getpixel((500, 250)) == (0, 0, 255, 255)
    with Image.open(PORTRAIT) as original:
        assert cutout.getpixel((10, 250)) == (*original.getpixel((10, 250)), 255)  # type: ignore[misc]
    cropped, _ = opened(run(half, PORTRAIT, Line(tmp_path / "cropped"), crop=True, **given))
    assert cropped.size < cutout.size
    assert cropped.getpixel((10, 250)) == cutout.getpixel((10, 250))


def test_the_backgrounds_colour_is_taken_out_of_half_transparent_pixels() -> None:
    """Grey in front of green, with an edge that is half of each: what is left of it is grey."""
    picture = np.full((60, 90, 4), (128, 128, 128, 255), np.uint8)
    picture[:, 45:] = (0, 255, 0, 255)
    picture[:, 44:46] = (64, 191, 64, 255)
    mask = np.full((60, 90), 255, np.uint8)
    mask[:, 44:46], mask[:, 46:] = 128, 0
    cutout, _ = cut_out(Image.fromarray(picture), Image.fromarray(mask))
    edge = cutout.getpixel((44, 30))
    assert isinstance(edge, tuple)
    assert all(abs(level - 128) <= 6 for level in edge[:3]), edge
    assert cutout.getpixel((10, 30)) == (128, 128, 128, 255)
    assert cutout.getpixel((80, 30)) == (0, 0, 0, 0)


def test_pictures_side_by_side_come_out_as_they_would_alone(half: IsnetMatting, tmp_path: Path) -> None:
    broken = probed(PORTRAIT, "image/*").model_copy(update={"path": makers.truncated_jpeg(tmp_path)})
    inputs = [
        Input(image=probed(PORTRAIT, "image/*")),
        Input(image=broken),
        Input(image=probed(PORTRAIT, "image/*"), crop=True),
    ]
    with ThreadPoolExecutor(2) as lanes:
        first, second, third = [
            lanes.submit(half.run, one, Line(tmp_path / f"job{number}")) for number, one in enumerate(inputs)
        ]
    alone = run(half, PORTRAIT, Line(tmp_path / "alone"))
    assert first.result().cutout.path.read_bytes() == alone.cutout.path.read_bytes()
    assert isinstance(second.exception(), BadMedia)
    assert third.result().width < alone.width


def test_a_picture_that_is_alone_has_all_threads_and_two_have_half_of_them_each(
    half: IsnetMatting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    whole = half._networks[Quality.BEST]

    def network(_: Quality, *, is_shared: bool) -> Any:
        asked.append(is_shared)
        if len(asked) == 2:  # while the first one runs
            run(half, PORTRAIT, Line(tmp_path / "second"))
        return whole

    monkeypatch.setattr(half, "_network", network)
    asked.append(False)
    run(half, PORTRAIT, Line(tmp_path / "first"))
    run(half, PORTRAIT, Line(tmp_path / "third"))
    assert asked[1:] == [False, True, False]


def test_what_is_transparent_stays_so_and_a_picture_without_a_subject_is_not_cropped() -> None:
    picture = Image.new("RGBA", (40, 30), (9, 9, 9, 128))
    _, mask = cut_out(picture, Image.new("L", (SIDE, SIDE), 255))
    assert mask.getextrema() == (128, 128)
    cutout, mask = cut_out(picture, Image.new("L", (SIDE, SIDE), 0), crop=True)
    assert cutout.size == mask.size == (40, 30)


def test_a_colour_profile_is_carried_over(half: IsnetMatting, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    media.picture().save(tmp_path / "srgb.png", icc_profile=profile)
    for number, format_ in enumerate(("png", "webp")):
        cutout, _ = opened(run(half, tmp_path / "srgb.png", Line(tmp_path / f"job{number}"), format=format_))
        assert cutout.info["icc_profile"] == profile


def test_a_picture_wider_than_webp_allows_is_refused_by_name(half: IsnetMatting, tmp_path: Path) -> None:
    Image.new("RGB", (16_400, 2)).save(tmp_path / "wide.png")
    with pytest.raises(InvalidInput, match="16400x2") as caught:
        run(half, tmp_path / "wide.png", Line(tmp_path / "job"), format="webp")
    assert caught.value.details["errors"][0]["loc"] == "format"
    assert run(half, tmp_path / "wide.png", Line(tmp_path / "again")).width == 16_400


def test_a_picture_that_does_not_decode_is_the_callers_fault(half: IsnetMatting, tmp_path: Path) -> None:
    path = makers.truncated_jpeg(tmp_path)
    image = probed(PORTRAIT, "image/*").model_copy(update={"path": path})
    with pytest.raises(BadMedia):
        half.run(Input(image=image), Line(tmp_path / "job"))


def test_a_cancel_before_the_network_spares_its_work(half: IsnetMatting, tmp_path: Path) -> None:
    class Cancelling(Line):
        def __call__(self, fraction: float, stage: str | None = None) -> None:
            super().__call__(fraction, stage)
            if stage == "matte":
                raise Cancelled

    line = Cancelling(tmp_path / "job")
    with pytest.raises(Cancelled):
        run(half, PORTRAIT, line)
    assert list(line.folder.iterdir()) == []


@pytest.mark.parametrize("colour", ["red", "#12345", "url(x)", "#ggg"])
def test_a_background_that_is_no_colour_is_refused(colour: str) -> None:
    with pytest.raises(ValidationError, match="background"):
        Input(image=probed(PORTRAIT, "image/*"), background=colour)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "give image or video"),
        ({"image": PORTRAIT, "video": PORTRAIT}, "give image or video"),
        ({"image": PORTRAIT, "background": "#fff", "background_image": PORTRAIT}, "not both"),
        ({"image": PORTRAIT, "format": "webm"}, r"webm is not for a picture: png, webp"),
        ({"video": PORTRAIT, "format": "png"}, r"png is not for a video: webm, mov, mp4"),
        ({"video": PORTRAIT, "crop": True}, "only pictures are cropped"),
        ({"image": PORTRAIT, "quality": "great"}, "quality"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_does(options: dict[str, Any], told: str) -> None:
    given = {name: probed(value, "image/*") if isinstance(value, Path) else value for name, value in options.items()}
    with pytest.raises(ValidationError, match=told):
        Input(**given)


def test_missing_and_broken_model_files_are_told_before_a_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="springtide models pull"):
        IsnetMatting({}, tmp_path).load()
    (tmp_path / "isnet").mkdir()
    (tmp_path / isnet.MODEL.path).write_bytes(b"no model")
    monkeypatch.setattr(isnet, "require", lambda _engine, _folder: None)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        IsnetMatting({}, tmp_path).load()


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"matting.*threads.*0"):
        IsnetMatting({"threads": 0}, Path("unused"))

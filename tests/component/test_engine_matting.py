"""Matting: the real network finds the subject; any kind of picture comes out as it went in, but for the background."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_world import DATA, Line, probed, weights_folder
from PIL import Image
from pydantic import ValidationError

from springtide.domain.errors import BadMedia, ConfigError, InvalidInput
from springtide.engines.matting import isnet
from springtide.engines.matting.isnet import SIDE, IsnetMatting
from springtide.engines.matting.pictures import cut_out
from springtide.engines.matting.schema import Input, Output
from springtide.engines.protocol import Cancelled
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
    engine._session = None  # half a gigabyte that no later test needs


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> IsnetMatting:
    """The engine with a network that finds the left half of everything: for what is not the network's doing."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:, : SIDE // 2] = 1.0
    monkeypatch.setattr(IsnetMatting, "_infer", lambda _self, _pixels: mask)
    return IsnetMatting({}, Path("unused"))


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
    assert output.generative is False


def test_a_sideways_print_is_cut_out_upright_and_cropped(network: IsnetMatting, tmp_path: Path) -> None:
    """CMYK, lying on its side with the EXIF tag that says so; WebP out, cropped."""
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


def test_forty_megapixels_keep_their_size(network: IsnetMatting, tmp_path: Path) -> None:
    output = run(network, makers.large_picture(tmp_path), Line(tmp_path / "job"))
    assert (output.width, output.height) == (8000, 5000)
    assert network.estimate(Input(image=probed(tmp_path / "large.jpg", "image/*"))) > network.estimate(
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


def test_what_is_transparent_stays_so_and_a_picture_without_a_subject_is_not_cropped() -> None:
    picture = Image.new("RGBA", (40, 30), (9, 9, 9, 128))
    _, mask = cut_out(picture, Image.new("L", (SIDE, SIDE), 255), background=None, crop=False)
    assert mask.getextrema() == (128, 128)
    cutout, mask = cut_out(picture, Image.new("L", (SIDE, SIDE), 0), background=None, crop=True)
    assert cutout.size == mask.size == (40, 30)


def test_a_colour_profile_is_carried_over(half: IsnetMatting, tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    makers.picture().save(tmp_path / "srgb.png", icc_profile=profile)
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

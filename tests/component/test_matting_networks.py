"""Other networks by settings alone: RMBG, BiRefNet and MODNet as their files are, and what a wrong setting is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_world import DATA, Line, fetched, probed
from PIL import Image

from springtide.domain.errors import ConfigError
from springtide.domain.ids import ModelName
from springtide.engines.binding import describe
from springtide.engines.conversion.onnx_file import OnnxGraph, Shape
from springtide.engines.matting.isnet import FAST_MODEL, IsnetMatting
from springtide.engines.matting.schema import Input
from springtide.engines.weights import missing

pytestmark = pytest.mark.xdist_group("engines")

PORTRAIT = DATA / "portrait.jpg"
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
RED, GREY = (255, 0, 0), (128, 128, 128)


def redness(
    path: Path,
    shape: Shape,
    *,
    names: tuple[str, str] = ("input", "output"),
    element_type: str = "float32",
    scale: float = 1.0,
    has_side: bool = False,
    is_squeezed: bool = False,
) -> Path:
    """A network whose mask is red less green, times `scale`: with values known, it tells how it was fed."""
    graph = OnnxGraph("redness")
    given = graph.input(names[0], shape, element_type)
    axis = 3 if shape[-1] == 3 else 1
    channels = [
        graph.node("Gather", [given, graph.constant(np.array([number], np.int64))], axis=axis) for number in (0, 1)
    ]
    less = graph.node("Sub", channels)
    factor = graph.constant(np.array(scale, np.dtype(element_type)))
    if has_side:  # a side output first, as training leaves them
        graph.node("Neg", [less], output="side")
        graph.output("side", ["n", 1, "h", "w"], element_type)
    scaled = graph.node("Mul", [less, factor])
    graph.node("Relu" if is_squeezed else "Identity", [scaled], output=names[1])
    graph.output(names[1], ["n", 1, "h", "w"] if axis == 1 else ["n", "h", "w", 1], element_type)
    graph.write(path)
    return path


def engine(folder: Path, **settings: Any) -> IsnetMatting:
    """Loaded, with the selfie network beside."""
    weights = fetched(FAST_MODEL)
    made = IsnetMatting({"threads": 1, **settings}, weights)
    made.load()
    return made


def masks(made: IsnetMatting, folder: Path) -> tuple[int, int]:
    """The mask of a picture half red, half grey: in the middle of both."""
    picture = Image.new("RGB", (120, 80), GREY)
    picture.paste(RED, (0, 0, 60, 80))
    picture.save(folder / "halves.png")
    output = made.run(Input(image=probed(folder / "halves.png", "image/*")), Line(folder / "job"))
    with Image.open(output.mask.path) as mask:
        return mask.getpixel((30, 40)), mask.getpixel((90, 40))  # type: ignore[return-value]


def test_a_file_like_rmbg_2_takes_its_names_size_and_scale_from_settings(tmp_path: Path) -> None:
    """Names of its own, sizes left open, alphas already in 0..1."""
    path = redness(
        tmp_path / "rmbg.onnx", ["n", 3, "h", "w"], names=("pixel_values", "alphas"), scale=0.2, is_squeezed=True
    )
    made = engine(
        tmp_path, file=str(path), name="rmbg-2.0", license="CC-BY-NC-4.0", commercial_use=False,
        input="pixel_values", output="alphas", size=64, **IMAGENET,
    )  # fmt: skip
    red, grey = masks(made, tmp_path)
    r, g = (1 - 0.485) / 0.229, (0 - 0.456) / 0.224
    assert red == pytest.approx(255 * min(1.0, 0.2 * (r - g)), abs=1)
    assert grey == 0
    output = made.run(Input(image=probed(PORTRAIT, "image/*")), Line(tmp_path / "again"))
    assert (output.model, output.license) == ("rmbg-2.0", "CC-BY-NC-4.0")
    described = describe(ModelName("cut"), made, engine_reference="matting")
    assert (described.license, described.commercial_use) == ("CC-BY-NC-4.0", False)
    assert [one.recipe for one in made.weights] == ["selfie"], "ISNet is not asked for where it is not used"
    assert missing(made, fetched(FAST_MODEL)) == []


def test_a_file_like_birefnet_gives_logits_that_are_squeezed(tmp_path: Path) -> None:
    path = redness(tmp_path / "birefnet.onnx", [1, 3, 64, 64], scale=4.0)
    red, grey = masks(engine(tmp_path, file=str(path)), tmp_path)
    assert red == 255
    assert grey == pytest.approx(255 / (1 + np.exp(-4 * ((0.502 - 0.485) / 0.229 - (0.502 - 0.456) / 0.224))), abs=2)


def test_a_file_like_modnet_in_half_precision_and_a_side_of_its_own(tmp_path: Path) -> None:
    path = redness(tmp_path / "modnet.onnx", [1, 3, 48, 96], element_type="float16", scale=0.5, has_side=True)
    made = engine(tmp_path, file=str(path), mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5], output="output", sigmoid=False)
    assert masks(made, tmp_path) == (255, 0)


def test_channels_may_come_last(tmp_path: Path) -> None:
    path = redness(tmp_path / "last.onnx", [1, 64, 64, 3])
    assert masks(engine(tmp_path, file=str(path), mean=[0, 0, 0], std=[1, 1, 1]), tmp_path) == (255, 0)


def test_a_relative_file_lies_below_the_weights_folder() -> None:
    made = IsnetMatting({"file": FAST_MODEL.path, "mean": [0, 0, 0], "std": [1, 1, 1]}, fetched(FAST_MODEL))
    made.load()
    assert made._networks  # it loaded


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"license": "MIT"}, "license: describes a network of your own, but file is not set"),
        ({"mean": [0.5, 0.5, 0.5]}, "mean: describes"),
        ({"file": "m.onnx", "std": [0, 1, 1]}, "std: must be above 0"),
        ({"file": "m.onnx", "size": 4}, "size: 16 to 8192"),
        ({"file": "m.onnx", "sigmoid": "maybe"}, "sigmoid"),
        ({"providers": ["cuda"], "model": "x"}, "model"),
    ],
)
def test_settings_that_mean_nothing_are_refused_before_anything_loads(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        IsnetMatting(settings, Path("unused"))


@pytest.mark.parametrize(
    ("shape", "settings", "told"),
    [
        ([1, 3, 64, 64], {"input": "pixels"}, r"no input 'pixels'; it has: input"),
        ([1, 3, 64, 64], {"output": "alphas"}, r"no output 'alphas'; it has: output"),
        ([1, 3, 64, 64], {"size": 128}, r"takes 64x64 only, not 128x128"),
        ([3, 64, 64], {}, "not a picture of floats"),
        ([1, 2, 64, 64], {}, "cannot be run"),
    ],
)
def test_a_file_that_does_not_fit_its_settings_is_refused_when_it_is_loaded(
    tmp_path: Path, shape: Shape, settings: dict[str, Any], told: str
) -> None:
    path = redness(tmp_path / "odd.onnx", shape)
    with pytest.raises(ConfigError, match=told):
        engine(tmp_path, file=str(path), **settings)


def test_a_network_that_wants_more_than_a_picture_is_refused(tmp_path: Path) -> None:
    graph = OnnxGraph("two")
    graph.output(
        graph.node("Add", [graph.input("src", [1, 3, 8, 8]), graph.input("r1i", [1, 3, 8, 8])], output="sum"),
        [1, 3, 8, 8],
    )
    graph.write(tmp_path / "two.onnx")
    with pytest.raises(ConfigError, match="wants more than a picture: r1i"):
        engine(tmp_path, file=str(tmp_path / "two.onnx"))


def test_an_output_that_is_no_mask_is_refused(tmp_path: Path) -> None:
    graph = OnnxGraph("three")
    graph.output(graph.node("Neg", [graph.input("src", [1, 3, 32, 32])], output="same"), [1, 3, 32, 32])
    graph.write(tmp_path / "three.onnx")
    with pytest.raises(ConfigError, match=r"output same is of shape \(3, 32, 32\), not one mask"):
        engine(tmp_path, file=str(tmp_path / "three.onnx"))

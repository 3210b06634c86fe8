"""Models that are converted to ONNX give what they give in their own runtime, from the same bytes every time."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from engine_world import DATA, fetched
from numpy.typing import NDArray

from springtide.engines.conversion.from_ncnn import convert_ncnn
from springtide.engines.conversion.from_tflite import convert_tflite
from springtide.engines.conversion.onnx_file import OnnxGraph
from springtide.engines.faces.models import DETECT_FAR, DETECT_NEAR, MESH
from springtide.engines.protocol import Weights
from springtide.engines.upscaling.models import ANIMEVIDEO, X4PLUS

pytestmark = pytest.mark.xdist_group("engines")

SELFIE = Weights(
    path="selfie/selfie_segmentation.onnx",
    sha256="5db84282c3cfb6e4ae82ae12ed55c75a94c8b04aff580791e180cc825f9aa81d",
    bytes=442_683,
    recipe="selfie",
    license="Apache-2.0",
)
NETWORKS = {
    "blazeface_short": (DETECT_NEAR, (128, 128)),
    "blazeface_full": (DETECT_FAR, (192, 192)),
    "facemesh": (MESH, (192, 192)),
    "selfie_segmentation": (SELFIE, (256, 256)),
    "animevideov3_x4": (ANIMEVIDEO, (8, 12)),
    "x4plus": (X4PLUS, (8, 12)),
}


def bust(height: int, width: int) -> NDArray[np.float32]:
    """A head and shoulders, drawn: something to see for every network. float32[height, width, 3] in 0..1."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    head = ((x - 0.5) / 0.17) ** 2 + ((y - 0.35) / 0.22) ** 2 < 1
    body = ((x - 0.5) / 0.35) ** 2 + ((y - 1) / 0.42) ** 2 < 1
    eyes = ((abs(x - 0.5) - 0.07) / 0.03) ** 2 + ((y - 0.32) / 0.015) ** 2 < 1
    mouth = ((x - 0.5) / 0.07) ** 2 + ((y - 0.46) / 0.02) ** 2 < 1
    picture = np.full((height, width, 3), (0.2, 0.5, 0.8))
    picture[body] = (0.1, 0.1, 0.3)
    picture[head] = (0.9, 0.7, 0.6)
    picture[eyes | mouth] = (0.2, 0.1, 0.1)
    return (picture * (0.9 + 0.1 * np.sin(40 * x) * np.cos(50 * y))[..., np.newaxis]).astype(np.float32)


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_model_gives_what_it_gave_in_its_own_runtime(name: str) -> None:
    weights, size = NETWORKS[name]
    network = session(fetched(weights) / weights.path)
    seen = bust(*size)[np.newaxis]
    if weights.recipe == "realesrgan":
        seen = (np.rint(seen * 255) / np.float32(255)).transpose(0, 3, 1, 2)
    given = network.get_inputs()[0].name
    with np.load(DATA / "converted.npz") as kept:
        wanted = {key.partition("/")[2]: kept[key] for key in kept.files if key.startswith(f"{name}/")}
    for output in network.get_outputs():
        reference = wanted.pop(output.name)
        made = network.run([output.name], {given: seen})[0].reshape(-1)
        made = made[:: max(1, made.size // 1500)]  # as the reference was thinned
        assert made.shape == reference.shape
        assert np.abs(made - reference).max() < 1e-3
        assert np.ptp(reference) > 0.5 or reference.size == 1, "the reference says something"
    assert wanted == {}


LAYERS = """7767517
9 11
Input    data  0 1 data
Split    s     1 2 data a b
Convolution c  1 1 a c 0=2 1=3 4=1 5=1 6=54 9=2 -23310=1,2.500000e-01
Interp   up    1 1 c up 0=1 1=2.000000e+00 2=2.000000e+00
PReLU    p     1 1 up p 0=2
Convolution d  1 1 p d 0=12 1=1 5=1 6=24
PixelShuffle q 1 1 d q 0=2
Interp   big   1 1 b big 0=1 1=4.000000e+00 2=4.000000e+00
Eltwise  e     2 1 q big output 0=1 -23301=2,2.000000e-01,1.000000e+00
"""


def _ncnn_weights() -> tuple[bytes, list[NDArray[np.float32]]]:
    chance = np.random.default_rng(5)
    kernel, slope = chance.normal(size=(2, 3, 3, 3)).astype("<f2"), np.array([0.1, 0.3], "<f4")
    bias, last, rest = chance.normal(size=2), chance.normal(size=(12, 2, 1, 1)), chance.normal(size=12)
    bias, last, rest = bias.astype("<f4"), last.astype("<f4"), rest.astype("<f4")
    half, single = struct.pack("<I", 0x01306B47), struct.pack("<I", 0)
    parts = [half, kernel.tobytes(), bias.tobytes(), slope.tobytes(), single, last.tobytes(), rest.tobytes()]
    return b"".join(parts), [kernel.astype(np.float32), bias, slope, last, rest]


def _small_ncnn(target: Path, layers: str = LAYERS) -> Path:
    convert_ncnn(layers, _ncnn_weights()[0], target)
    return target


def test_each_ncnn_layer_computes_what_its_name_says(tmp_path: Path) -> None:
    kernel, bias, slope, last, rest = _ncnn_weights()[1]
    given = np.random.default_rng(6).random((1, 3, 5, 7), np.float32)
    padded = np.pad(given[0], ((0, 0), (1, 1), (1, 1)))
    seen = np.stack([padded[:, y : y + 5, x : x + 7] for y in range(3) for x in range(3)]).reshape(3, 3, 3, 5, 7)
    made = np.einsum("yxchw,ocyx->ohw", seen, kernel) + bias[:, np.newaxis, np.newaxis]
    made = np.where(made > 0, made, made * 0.25).repeat(2, 1).repeat(2, 2)
    made = np.where(made > 0, made, made * slope[:, np.newaxis, np.newaxis])
    made = np.einsum("chw,oc->ohw", made, last[:, :, 0, 0]) + rest[:, np.newaxis, np.newaxis]
    made = made.reshape(3, 2, 2, 10, 14).transpose(0, 3, 1, 4, 2).reshape(3, 20, 28)
    wanted = made * 0.2 + given[0].repeat(4, 1).repeat(4, 2)
    output = session(_small_ncnn(tmp_path / "small.onnx")).run(None, {"data": given})[0][0]
    assert np.abs(output - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("changed", "to", "told"),
    [
        ("7767517", "7767518", "not an ncnn param file"),
        ("PixelShuffle", "Softmax", "Softmax"),
        ("0=12 1=1 5=1 6=24", "0=12 1=1 5=0 6=24", "belong to no layer"),
        ("0=2 1=3 4=1 5=1 6=54", "0=200 1=3 4=1 5=1 6=5400", "too early"),
        ("9=2 -23310", "9=5 -23310", "activation 5"),
        ("0=1 -23301", "0=0 -23301", "weighted sum"),
    ],
)
def test_an_ncnn_file_that_is_not_understood_is_refused(changed: str, to: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        _small_ncnn(tmp_path / "bad.onnx", LAYERS.replace(changed, to))


def test_a_tflite_file_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    for bytes_ in (b"", b"not a model at all", b"\x1c\0\0\0TFL3" + b"\xff" * 40):
        with pytest.raises(ValueError, match="TensorFlow Lite"):
            convert_tflite(bytes_, tmp_path / "bad.onnx")
    assert not (tmp_path / "bad.onnx").exists()


def test_attributes_of_every_kind_and_free_sizes_reach_the_runtime(tmp_path: Path) -> None:
    graph = OnnxGraph("kinds")
    given = graph.input("x", [1, "rows", 4])
    turned = graph.node("Transpose", [given], perm=[0, 2, 1])
    scaled = graph.node("LeakyRelu", [turned], alpha=-0.5)
    graph.node("Softmax", [scaled], axis=-1, output="y")
    graph.output("y", [1, 4, "rows"])
    graph.write(tmp_path / "kinds.onnx")
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)
    made = session(tmp_path / "kinds.onnx").run(None, {"x": values})[0]
    powers = np.exp(np.where(values < 0, -0.5 * values, values).transpose(0, 2, 1))
    assert np.abs(made - powers / powers.sum(-1, keepdims=True)).max() < 1e-6

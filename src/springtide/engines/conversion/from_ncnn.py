"""ncnn graphs of super-resolution networks (Real-ESRGAN) made into ONNX.

A .param file lists the layers as text, a .bin file holds their weights in the same order. Known are the layers that
these networks are made of; any other raises ValueError, and so do weights that are left over: nothing is guessed.
Source: ncnn, docs/developer-guide/param-and-model-file-structure.md and operation-param-weight-table.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from springtide.engines.conversion.onnx_file import OnnxGraph

MAGIC = "7767517"
HALF_PRECISION = 0x01306B47  # tag before weights stored as 16-bit floats
BINARY_OPERATIONS = {0: "Add", 1: "Sub", 2: "Mul", 3: "Div"}
INTERPOLATIONS = {1: "nearest", 2: "linear"}
LEAKY_RELU = 2  # activation_type


@dataclass(frozen=True, slots=True)
class _Layer:
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, str]

    def integer(self, key: int, default: int = 0) -> int:
        return int(self.parameters.get(key, default))

    def number(self, key: int, default: float) -> float:
        return float(self.parameters.get(key, default))

    def numbers(self, key: int) -> list[float]:
        """An array: its length, then its values; under -23300 - key."""
        return [float(value) for value in self.parameters.get(-23300 - key, "0").split(",")[1:]]


def convert_ncnn(param: str, weights: bytes, target: Path) -> None:
    """Write the network as ONNX: float32[1, 3, h, w] to float32[1, 3, H, W], h and w free."""
    conversion = _Conversion(weights)
    for layer in _layers(param):
        conversion.add(layer)
    conversion.write(target)


def _layers(param: str) -> list[_Layer]:
    lines = param.splitlines()
    if not lines or lines[0].strip() != MAGIC:
        raise ValueError("not an ncnn param file")
    layers: list[_Layer] = []
    for line in lines[2:]:
        if not (words := line.split()):
            continue
        taken, given = int(words[2]), int(words[3])
        names, rest = words[4 : 4 + taken + given], words[4 + taken + given :]
        parameters = {int(key): value for key, _, value in (word.partition("=") for word in rest)}
        layers.append(_Layer(words[0], tuple(names[:taken]), tuple(names[taken:]), parameters))
    return layers


class _Conversion:
    def __init__(self, weights: bytes) -> None:
        self._graph = OnnxGraph("ncnn")
        self._weights, self._at = weights, 0
        self._known: dict[str, str] = {}  # ncnn's name to ours
        self._last = ""

    def add(self, layer: _Layer) -> None:
        inputs = [self._known[name] for name in layer.inputs]
        if layer.kind == "Input":
            made = self._graph.input(layer.outputs[0], [1, 3, "h", "w"])
        elif layer.kind == "Split":
            made = inputs[0]
        elif layer.kind == "Convolution":
            made = self._convolution(layer, inputs[0])
        elif layer.kind == "PReLU":
            slope = self._floats(layer.integer(0)).reshape(-1, 1, 1)
            made = self._graph.node("PRelu", [inputs[0], self._graph.constant(slope)])
        elif layer.kind == "Concat":
            made = self._graph.node("Concat", inputs, axis=1)
        elif layer.kind == "BinaryOp" and not layer.integer(1):
            made = self._graph.node(BINARY_OPERATIONS[layer.integer(0)], inputs)
        elif layer.kind == "Eltwise":
            made = self._sum(layer, inputs)
        elif layer.kind == "Interp":
            made = self._resize(layer, inputs[0])
        elif layer.kind == "PixelShuffle":
            made = self._graph.node("DepthToSpace", inputs, blocksize=layer.integer(0), mode="CRD")
        else:
            raise ValueError(f"the ncnn layer {layer.kind} {dict(layer.parameters)} is not known here")
        self._known.update(dict.fromkeys(layer.outputs, made))
        self._last = made

    def write(self, target: Path) -> None:
        if self._at != len(self._weights):
            raise ValueError(f"{len(self._weights) - self._at} bytes of weights belong to no layer")
        self._graph.node("Identity", [self._last], output="output")
        self._graph.output("output", [1, 3, "H", "W"])
        self._graph.write(target)

    def _convolution(self, layer: _Layer, given: str) -> str:
        channels, side, count = layer.integer(0), layer.integer(1), layer.integer(6)
        if layer.integer(11, side) != side or layer.integer(2, 1) != 1:
            raise ValueError("only square kernels without dilation are known here")
        kernel = self._tagged(count).reshape(channels, -1, side, side)
        bias = self._floats(channels) if layer.integer(5) else np.zeros(channels, np.float32)
        made = self._graph.node(
            "Conv",
            [given, self._graph.constant(kernel), self._graph.constant(bias)],
            kernel_shape=[side, side],
            pads=[layer.integer(4)] * 4,
            strides=[layer.integer(3, 1)] * 2,
        )
        activation = layer.integer(9)
        if activation == LEAKY_RELU:
            return self._graph.node("LeakyRelu", [made], alpha=layer.numbers(10)[0])
        if activation:
            raise ValueError(f"the ncnn activation {activation} is not known here")
        return made

    def _sum(self, layer: _Layer, inputs: Sequence[str]) -> str:
        if layer.integer(0) != 1:
            raise ValueError("of the ncnn layer Eltwise only the weighted sum is known here")
        factors = layer.numbers(1) or [1.0] * len(inputs)
        scaled = [
            self._graph.node("Mul", [name, self._graph.constant(np.array(factor, np.float32))]) if factor != 1 else name
            for name, factor in zip(inputs, factors, strict=True)
        ]
        total = scaled[0]
        for name in scaled[1:]:
            total = self._graph.node("Add", [total, name])
        return total

    def _resize(self, layer: _Layer, given: str) -> str:
        mode = INTERPOLATIONS[layer.integer(0)]
        scales = np.array([1, 1, layer.number(1, 1), layer.number(2, 1)], np.float32)
        placing = "asymmetric" if mode == "nearest" else "half_pixel"
        return self._graph.node(
            "Resize",
            [given, "", self._graph.constant(scales)],
            mode=mode,
            coordinate_transformation_mode=placing,
            nearest_mode="floor",
        )

    def _tagged(self, count: int) -> NDArray[np.float32]:
        """Weights that say how they are stored: half precision (padded to four bytes) or single."""
        tag = int(np.frombuffer(self._taken(4), "<u4")[0])
        if tag == HALF_PRECISION:
            halves = np.frombuffer(self._taken(2 * count), "<f2").astype(np.float32)
            self._taken(-2 * count % 4)
            return halves
        if tag != 0:
            raise ValueError(f"weights of the ncnn kind {tag:#x} are not known here")
        return self._floats(count)

    def _floats(self, count: int) -> NDArray[np.float32]:
        return np.frombuffer(self._taken(4 * count), "<f4").astype(np.float32)

    def _taken(self, size: int) -> bytes:
        if self._at + size > len(self._weights):
            raise ValueError("the weights end too early")
        self._at += size
        return self._weights[self._at - size : self._at]

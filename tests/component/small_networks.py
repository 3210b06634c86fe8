"""Networks of a few bytes, written by the tests: what loads by settings alone must load whatever it computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from springtide.engines.conversion.onnx_file import OnnxGraph

SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)


def same(path: Path, *, side: int = 512, picture: str = "input") -> Path:
    """A restorer that gives what it is given, tensors as GPEN and GFPGAN have them."""
    graph = OnnxGraph("same")
    graph.node("Identity", [graph.input(picture, [1, 3, side, side])], output="output")
    graph.output("output", [1, 3, side, side])
    graph.write(path)
    return path


def sharpening(path: Path) -> Path:
    """A restorer that does what one expects of it, a little."""
    graph = OnnxGraph("sharpening")
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        kernel[channel, channel] = SHARPEN
    given = graph.input("input", [1, 3, "height", "width"])
    graph.node("Conv", [given, graph.constant(kernel)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], output="output")
    graph.output("output", [1, 3, "height", "width"])
    graph.write(path)
    return path


def weighted(path: Path) -> Path:
    """As CodeFormer's: a second input, a double of one element, by which the picture is multiplied here."""
    graph = OnnxGraph("weighted")
    picture = graph.input("x", [1, 3, 512, 512])
    weight = graph.input("weight", [1], "float64")
    graph.node("Mul", [picture, graph.node("Cast", [weight], to=1)], output="y")
    graph.output("y", [1, 3, 512, 512])
    graph.write(path)
    return path


def moving(path: Path, pixels: int) -> Path:
    """A restorer that draws the face elsewhere: what may not be pasted."""
    graph = OnnxGraph("moving")
    given = graph.input("input", [1, 3, 512, 512])
    pads = graph.constant(np.array([0, 0, pixels, pixels, 0, 0, -pixels, -pixels], np.int64))
    graph.node("Pad", [given, pads], mode="edge", output="output")
    graph.output("output", [1, 3, 512, 512])
    graph.write(path)
    return path


def black(path: Path) -> Path:
    """A restorer that draws nothing at all."""
    graph = OnnxGraph("black")
    given = graph.input("input", [1, 3, 512, 512])
    graph.node("Mul", [given, graph.constant(np.array(0, np.float32))], output="output")
    graph.output("output", [1, 3, 512, 512])
    graph.write(path)
    return path

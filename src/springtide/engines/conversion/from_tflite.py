"""TensorFlow Lite graphs of MediaPipe's small networks made into ONNX.

TensorFlow Lite keeps pictures as [batch, height, width, channel], ONNX as [batch, channel, height, width]: inputs and
outputs keep the original order and are turned around once inside. Known are the float operators that the face and
selfie networks are made of; any other raises ValueError. Outputs are held against LiteRT's own by tests.
Source: tensorflow/lite/schema/schema.fbs, read through the `tflite` package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from springtide.engines.conversion.onnx_file import OnnxGraph

ELEMENT_TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 4: np.int64}  # TensorType
CUSTOM = 32  # BuiltinOperator
TO_ONNX, TO_TFLITE = (0, 3, 1, 2), (0, 2, 3, 1)
PADDING = ("SAME_UPPER", "VALID")
NO_ACTIVATION, RELU, RELU6 = 0, 1, 3
PLAIN = {"RELU": "Relu", "LOGISTIC": "Sigmoid", "HARD_SWISH": "HardSwish"}
COMBINING = {"ADD": ("Add", tflite.AddOptions), "MUL": ("Mul", tflite.MulOptions)}
POOLING = {"MAX_POOL_2D": "MaxPool", "AVERAGE_POOL_2D": "AveragePool"}
OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


def convert_tflite(model: bytes, target: Path) -> None:
    """Write the first graph of a TensorFlow Lite file as ONNX, with its own names of inputs and outputs."""
    if model[4:8] != b"TFL3":
        raise ValueError("not a TensorFlow Lite file")
    try:
        _Conversion(tflite.Model.GetRootAsModel(model, 0)).write(target)
    except (struct.error, IndexError, TypeError, KeyError) as error:  # what reading at a wrong offset ends in
        raise ValueError(f"the TensorFlow Lite file is damaged: {error}") from error


class _Conversion:
    def __init__(self, model: Any) -> None:
        self._model, self._from = model, model.Subgraphs(0)
        self._graph = OnnxGraph("tflite")
        self._made: dict[int, str] = {}  # tensor number to the name of the ONNX value, channels first
        self._fixed: dict[int, NDArray[Any]] = {}  # constants that an operator made
        self._operators: dict[str, Callable[[Any, list[int]], str]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "Convolution2DTransposeBias": self._transposed_convolution,
            "PRELU": self._prelu,
            "PAD": self._pad,
            "RESHAPE": self._reshape,
            "CONCATENATION": self._concatenation,
            "RESIZE_BILINEAR": self._resize,
            **dict.fromkeys(POOLING, self._pool),
            **dict.fromkeys(COMBINING, self._combine),
            **dict.fromkeys(PLAIN, self._plain),
        }

    def write(self, target: Path) -> None:
        for number in self._from.InputsAsNumpy():
            name = self._graph.input(self._name(number), self._shape(number))
            self._made[int(number)] = self._turned(name, number, TO_ONNX)
        for index in range(self._from.OperatorsLength()):
            self._add(self._from.Operators(index))
        for number in self._from.OutputsAsNumpy():
            turned = self._turned(self._made[int(number)], number, TO_TFLITE)
            self._graph.node("Identity", [turned], output=self._name(number))
            self._graph.output(self._name(number), self._shape(number))
        self._graph.write(target)

    def _add(self, operator: Any) -> None:
        kind, inputs = self._kind(operator), [int(one) for one in operator.InputsAsNumpy()]
        made = int(operator.OutputsAsNumpy()[0])
        if kind == "DEQUANTIZE":  # weights in half precision
            self._fixed[made] = self._constant(inputs[0])
        elif kind in self._operators:
            self._made[made] = self._operators[kind](operator, inputs)
        else:
            raise ValueError(f"the TensorFlow Lite operator {kind} is not known here")

    def _kind(self, operator: Any) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        return code.CustomCode().decode() if number == CUSTOM else OPERATOR_NAMES[number]

    # Tensors

    def _name(self, number: int) -> str:
        return self._from.Tensors(int(number)).Name().decode()

    def _shape(self, number: int) -> list[int]:
        tensor = self._from.Tensors(int(number))
        return [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []

    def _constant(self, number: int) -> NDArray[Any]:
        """Values that stand in the file, in its own order; 16-bit floats widened."""
        if number in self._fixed:
            return self._fixed[number]
        tensor = self._from.Tensors(number)
        buffer = self._model.Buffers(tensor.Buffer())
        if not buffer.DataLength():
            raise ValueError(f"the tensor {self._name(number)} is used before it is made")
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), ELEMENT_TYPES[tensor.Type()])
        values = values.reshape(self._shape(number))
        return values.astype(np.float32) if values.dtype == np.float16 else values

    def _value(self, number: int) -> str:
        if number not in self._made:
            values = self._constant(number)
            values = values.transpose(TO_ONNX) if values.ndim == 4 else values
            self._made[number] = self._graph.constant(values)
        return self._made[number]

    def _turned(self, name: str, number: int, order: tuple[int, ...]) -> str:
        return self._graph.node("Transpose", [name], perm=order) if len(self._shape(number)) == 4 else name

    # Operators

    def _options(self, operator: Any, kind: Any) -> Any:
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        return options

    def _activated(self, name: str, activation: int) -> str:
        if activation == NO_ACTIVATION:
            return name
        if activation == RELU:
            return self._graph.node("Relu", [name])
        if activation == RELU6:
            limits = [self._graph.constant(np.array(limit, np.float32)) for limit in (0, 6)]
            return self._graph.node("Clip", [name, *limits])
        raise ValueError(f"the activation {activation} is not known here")

    def _convolution(self, operator: Any, inputs: list[int]) -> str:
        options = self._options(operator, tflite.Conv2DOptions)
        return self._convolved(options, inputs, self._constant(inputs[1]).transpose(0, 3, 1, 2), groups=1)

    def _depthwise(self, operator: Any, inputs: list[int]) -> str:
        options = self._options(operator, tflite.DepthwiseConv2DOptions)
        if options.DepthMultiplier() != 1:
            raise ValueError("a depthwise convolution with a multiplier is not known here")
        kernel = self._constant(inputs[1]).transpose(3, 0, 1, 2)
        return self._convolved(options, inputs, kernel, groups=kernel.shape[0])

    def _convolved(self, options: Any, inputs: list[int], kernel: NDArray[Any], *, groups: int) -> str:
        given = [self._value(inputs[0]), self._graph.constant(kernel)]
        if len(inputs) > 2 and inputs[2] >= 0:
            given.append(self._graph.constant(self._constant(inputs[2])))
        made = self._graph.node(
            "Conv",
            given,
            kernel_shape=kernel.shape[2:],
            strides=[options.StrideH(), options.StrideW()],
            dilations=[options.DilationHFactor(), options.DilationWFactor()],
            auto_pad=PADDING[options.Padding()],
            group=groups,
        )
        return self._activated(made, options.FusedActivationFunction())

    def _transposed_convolution(self, operator: Any, inputs: list[int]) -> str:
        """MediaPipe's own operator. Its options are 32-bit integers: padding (0: SAME), stride across, stride down."""
        _, across, down = struct.unpack("<3i", operator.CustomOptionsAsNumpy().tobytes()[:12])
        kernel = self._constant(inputs[1]).transpose(3, 0, 1, 2)
        if kernel.shape[2:] != (down, across):
            raise ValueError("a transposed convolution whose kernel is not its stride is not known here")
        given = [self._value(inputs[0]), *(self._graph.constant(one) for one in (kernel, self._constant(inputs[2])))]
        return self._graph.node("ConvTranspose", given, kernel_shape=kernel.shape[2:], strides=[down, across])

    def _plain(self, operator: Any, inputs: list[int]) -> str:
        return self._graph.node(PLAIN[self._kind(operator)], [self._value(inputs[0])])

    def _prelu(self, operator: Any, inputs: list[int]) -> str:
        slopes = self._constant(inputs[1]).reshape(-1, 1, 1)  # one for each channel
        if slopes.shape[0] != self._shape(inputs[0])[-1]:
            raise ValueError("a PReLU with other than one slope a channel is not known here")
        return self._graph.node("PRelu", [self._value(inputs[0]), self._graph.constant(slopes)])

    def _combine(self, operator: Any, inputs: list[int]) -> str:
        name, kind = COMBINING[self._kind(operator)]
        made = self._graph.node(name, [self._value(one) for one in inputs])
        return self._activated(made, self._options(operator, kind).FusedActivationFunction())

    def _pool(self, operator: Any, inputs: list[int]) -> str:
        options = self._options(operator, tflite.Pool2DOptions)
        made = self._graph.node(
            POOLING[self._kind(operator)],
            [self._value(inputs[0])],
            kernel_shape=[options.FilterHeight(), options.FilterWidth()],
            strides=[options.StrideH(), options.StrideW()],
            auto_pad=PADDING[options.Padding()],
        )
        return self._activated(made, options.FusedActivationFunction())

    def _pad(self, operator: Any, inputs: list[int]) -> str:
        sides = self._constant(inputs[1])[list(TO_ONNX)]  # a row for each axis: before, after
        pads = self._graph.constant(sides.T.reshape(-1).astype(np.int64))
        return self._graph.node("Pad", [self._value(inputs[0]), pads])

    def _reshape(self, operator: Any, inputs: list[int]) -> str:
        shape = self._shape(int(operator.OutputsAsNumpy()[0]))
        if len(shape) == 4:
            raise ValueError("a reshape to four axes is not known here")
        given = self._turned(self._value(inputs[0]), inputs[0], TO_TFLITE)
        return self._graph.node("Reshape", [given, self._graph.constant(np.array(shape, np.int64))])

    def _concatenation(self, operator: Any, inputs: list[int]) -> str:
        options = self._options(operator, tflite.ConcatenationOptions)
        axes = len(self._shape(inputs[0]))
        axis = options.Axis() % axes
        axis = TO_ONNX.index(axis) if axes == 4 else axis
        made = self._graph.node("Concat", [self._value(one) for one in inputs], axis=axis)
        return self._activated(made, options.FusedActivationFunction())

    def _resize(self, operator: Any, inputs: list[int]) -> str:
        options = self._options(operator, tflite.ResizeBilinearOptions)
        _, height, width, _ = self._shape(int(operator.OutputsAsNumpy()[0]))
        batch, *_, channels = self._shape(inputs[0])
        size = self._graph.constant(np.array([batch, channels, height, width], np.int64))
        placing = (
            "align_corners" if options.AlignCorners() else "half_pixel" if options.HalfPixelCenters() else "asymmetric"
        )
        given = [self._value(inputs[0]), "", "", size]
        return self._graph.node("Resize", given, mode="linear", coordinate_transformation_mode=placing)

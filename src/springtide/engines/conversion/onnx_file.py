"""ONNX files written by ourselves, byte for byte the same everywhere.

A converted model is checked against a pinned SHA-256 after it is written. The bytes that the `onnx` package and its
protobuf library give may change with their versions, so a pin would hold for one version only. The format is a small
protobuf message; what our models need of it is written here in full: one graph, floats and integers, no functions.
Source: onnx/onnx.proto (field numbers stand beside the code), protobuf encoding (varint, 32-bit, length-delimited).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IR_VERSION = 8  # of ONNX 1.13: read by every onnxruntime since 1.14
OPSET = 14  # the first with HardSwish
ELEMENT_TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float16": 10, "float64": 11}  # TensorProto.DataType

Shape = Sequence[int | str]  # a name where the size is free


class OnnxGraph:
    """A graph that is built node by node, in order, then written."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._made = 0

    def input(self, name: str, shape: Shape, element_type: str = "float32") -> str:
        self._inputs.append(_value_info(name, shape, element_type))
        return name

    def output(self, name: str, shape: Shape, element_type: str = "float32") -> str:
        self._outputs.append(_value_info(name, shape, element_type))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """A tensor that is part of the file; gives its name."""
        name = self._new_name("constant")
        code = ELEMENT_TYPES[values.dtype.name]
        raw = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        dims = b"".join(_integer(1, size) for size in values.shape)
        self._constants.append(dims + _integer(2, code) + _text(8, name) + _bytes(9, raw))  # TensorProto
        return name

    def node(self, operator: str, inputs: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; gives its name. An empty input name leaves an optional input out."""
        output = output or self._new_name(operator.lower())
        parts = [_text(1, one) for one in inputs] + [_text(2, output), _text(3, output), _text(4, operator)]
        parts += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(parts))  # NodeProto
        return output

    def write(self, path: Path) -> None:
        graph = [
            *(_bytes(1, node) for node in self._nodes),
            _text(2, self._name),
            *(_bytes(5, tensor) for tensor in self._constants),
            *(_bytes(11, one) for one in self._inputs),
            *(_bytes(12, one) for one in self._outputs),
        ]
        opset = _text(1, "") + _integer(2, OPSET)
        model = _integer(1, IR_VERSION) + _bytes(7, b"".join(graph)) + _bytes(8, opset)  # ModelProto
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model)

    def _new_name(self, stem: str) -> str:
        self._made += 1
        return f"{stem}_{self._made}"


def _value_info(name: str, shape: Shape, element_type: str) -> bytes:
    dims = b"".join(_bytes(1, _text(2, one) if isinstance(one, str) else _integer(1, one)) for one in shape)
    tensor = _integer(1, ELEMENT_TYPES[element_type]) + _bytes(2, dims)  # TypeProto.Tensor
    return _text(1, name) + _bytes(2, _bytes(1, tensor))  # ValueInfoProto


def _attribute(name: str, value: float | str | Sequence[int]) -> bytes:
    """An AttributeProto: its value, and in field 20 which kind of value that is."""
    if isinstance(value, str):
        given, kind = _bytes(4, value.encode()), 3
    elif isinstance(value, int):
        given, kind = _integer(3, value), 2
    elif isinstance(value, float):
        given, kind = _key(2, 5) + struct.pack("<f", value), 1
    else:
        given, kind = b"".join(_integer(8, int(one)) for one in value), 7
    return _text(1, name) + given + _integer(20, kind)


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)  # negative: two's complement in 64 bits


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)

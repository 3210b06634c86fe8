"""The networks of matting, and what each wants its picture to be like.

A `Network` turns a picture of any size into the mask its network sees, in 0 to 1. Its spec says how: which tensor, what
size, mean and deviation, whether a sigmoid is missing at the end. So another network of this kind (RMBG, BiRefNet,
MODNet) is a file and a few settings. A file that cannot be used so is refused when it is opened, not at job time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.domain.errors import ConfigError
from springtide.engines.onnx import CPU, run_session

if TYPE_CHECKING:
    import onnxruntime

Floats = NDArray[np.floating[Any]]  # float32 in fact: the library's types lose sight of it


SIDE = 1024  # pixels: what most networks of this kind were trained at, where the file leaves it open
OUTSIDE = 0.01  # so far beyond 0..1 rounding does not get: the output is not yet squeezed by a sigmoid
_DTYPES: dict[str, type[np.generic]] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """How a network is fed and read. None: as the file says."""

    name: str
    license: str
    mean: tuple[float, float, float]  # of RGB in 0..1
    std: tuple[float, float, float]
    input: str | None = None
    output: str | None = None  # the first, where not named
    size: tuple[int, int] | None = None  # width, height
    sigmoid: bool | None = None  # whether one is missing; None: where an output leaves 0..1
    is_coarse: bool = False  # sees so little that the edge has to be looked for in the picture (`masks.refined`)


ISNET = NetworkSpec(
    name="isnet-general-use-fp16",
    license="Apache-2.0",
    mean=(128 / 255, 128 / 255, 128 / 255),  # trained on (x - 128) / 256
    std=(256 / 255, 256 / 255, 256 / 255),
    sigmoid=False,
)
SELFIE = NetworkSpec(
    name="mediapipe-selfie-segmentation",
    license="Apache-2.0",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    sigmoid=False,
    is_coarse=True,
)


class Network:
    """An open session with its spec. May be called by several threads at once."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        spec: NetworkSpec,
        *,
        turns: AbstractContextManager[Any] | None = None,
    ) -> None:
        """turns: who may run at once, where memory would not do for all that call."""
        self.spec = spec
        self._session = session
        self._turns = turns or nullcontext()
        inputs: Sequence[Any] = session.get_inputs()
        given = _pick(inputs, spec.input, "input", spec)
        others = [one.name for one in inputs if one.name != given.name]
        if others:
            raise ConfigError(f"{spec.name}: wants more than a picture: {', '.join(others)}. Matting has nothing else")
        if given.type not in _DTYPES or len(given.shape) != 4:
            raise ConfigError(f"{spec.name}: input {given.name} is {given.type}{given.shape}, not a picture of floats")
        self._input, self._dtype = str(given.name), _DTYPES[given.type]
        self._output = str(_pick(session.get_outputs(), spec.output, "output", spec).name)
        self._channels_last = given.shape[3] == 3
        height, width = given.shape[1:3] if self._channels_last else given.shape[2:4]
        self.size = _size(width, height, spec)
        self._scale = np.array([1 / (255 * std) for std in spec.std], np.float32)
        self._offset = np.array([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)], np.float32)

    @property
    def is_on_gpu(self) -> bool:
        return self._session.get_providers()[0] != CPU

    def __call__(self, picture: Image.Image) -> Floats:
        """float32[height, width] of the network's own size, 0..1: how much of each pixel is subject.

        picture: RGB, or RGBA, which is laid on white.
        """
        small = picture.resize(self.size, Image.Resampling.BILINEAR, reducing_gap=3.0)
        if small.mode == "RGBA":
            small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
        pixels = np.asarray(small, np.float32) * self._scale + self._offset
        return self._squeezed(self._run(pixels))

    def warm_up(self) -> None:
        """Run once, on grey. Raises ConfigError where the network cannot run, or gives no mask."""
        try:
            shape = self(Image.new("RGB", self.size, "grey")).shape
        except ConfigError:
            raise
        except Exception as error:  # the runtime's own types
            raise ConfigError(f"{self.spec.name}: cannot be run: {error}") from error
        if len(shape) != 2:
            raise ConfigError(f"{self.spec.name}: output {self._output} is of shape {shape}, not one mask; set output")

    def _run(self, pixels: Floats) -> Floats:
        """float32[height, width, 3] normalised, to whatever the network gives for it, without axes of one."""
        tensor = pixels if self._channels_last else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        batch = tensor[np.newaxis].astype(self._dtype)
        with self._turns:
            (result,) = run_session(self._session, {self._input: batch}, [self._output])
        return np.squeeze(np.asarray(result, np.float32))

    def _squeezed(self, values: Floats) -> Floats:
        missing = self.spec.sigmoid
        if missing is None:
            missing = bool(values.min() < -OUTSIDE or values.max() > 1 + OUTSIDE)
        if missing:
            values = np.float32(1) / (1 + np.exp(-values.clip(-80, 80)))  # beyond 80 float32 has nothing left to tell
        return values.clip(0.0, 1.0)


def _pick(tensors: Sequence[Any], name: str | None, kind: str, spec: NetworkSpec) -> Any:
    for one in tensors:
        if name is None or one.name == name:
            return one
    raise ConfigError(f"{spec.name}: has no {kind} {name!r}; it has: {', '.join(one.name for one in tensors)}")


def _size(width: Any, height: Any, spec: NetworkSpec) -> tuple[int, int]:
    """The file's own size where it has one: axes that are open are names, or None."""
    own = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    if own is not None and spec.size is not None and own != spec.size:
        raise ConfigError(
            f"{spec.name}: size: the file takes {own[0]}x{own[1]} only, not {spec.size[0]}x{spec.size[1]}"
        )
    return own or spec.size or (SIDE, SIDE)

"""Networks that draw a face anew: Real-ESRGAN on a small crop, or any ONNX file that takes an aligned square.

Both take the picture and the map to the aligned square of 512 pixels, and give that square. Files differ in what they
call their tensors, in normalisation and template, and in inputs beside the picture (CodeFormer's `weight`, a double):
all of it is read from the file or stands in the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from springtide.domain.errors import ConfigError
from springtide.engines.faces.align import SIDE
from springtide.engines.faces.template import Template
from springtide.engines.faces.warp import Matrix, warped
from springtide.engines.onnx import open_session
from springtide.engines.restoration.blending import grain_of
from springtide.engines.restoration.settings import RestorationSettings
from springtide.engines.upscaling.models import SCALE
from springtide.engines.upscaling.networks import Upscaler

Pixels = NDArray[np.uint8]
DETAIL_MIN = 0.05  # of the face's contrast: less is no detail that anybody would miss (five portraits, looked at)
NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
}


class Restorer(Protocol):
    """Draws one face anew."""

    @property
    def template(self) -> Template: ...

    @property
    def side(self) -> int:
        """Pixels of the square that it sees: a face with many more loses detail."""
        ...

    def restore(self, rgb: Pixels, matrix: Matrix) -> Pixels:
        """uint8[h, w, 3] and the map to the aligned square, to uint8[512, 512, 3]."""
        ...


class SuperResolution:
    """A small crop, made four times as large: as small as holds what the picture shows of the face.

    The network draws best what comes sharp. Blurred or grainy pixels shown at their full number become paint and one
    eye sharper than the other; the same face at fewer, sharper pixels gets skin and teeth, and costs less.
    """

    template = Template.FFHQ

    def __init__(self, network: Upscaler, *, side: int) -> None:
        self._network = network
        self.side = side

    def restore(self, rgb: Pixels, matrix: Matrix) -> Pixels:
        side = needed_side(warped(rgb, matrix * (self.side / SIDE), (self.side, self.side)))
        made = self._network.run(warped(rgb, matrix * (side / SIDE), (side, side)))
        if side * SCALE == SIDE:
            return made
        return np.asarray(Image.fromarray(made).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def needed_side(face: Pixels) -> int:
    """Pixels that hold all there is to see in an aligned face of uint8[side, side, 3], grain aside; at least 5/8."""
    side = face.shape[0]
    inner = slice(side // 4, 3 * side // 4)
    grey = Image.fromarray(face).convert("L")
    shown = np.asarray(grey, np.float32)[inner, inner]
    noise, contrast = grain_of(shown), max(float(shown.std()), 1.0)
    for fewer in (side * eighths // 8 for eighths in (5, 6, 7)):
        coarse = grey.resize((fewer, fewer), Image.Resampling.LANCZOS).resize((side, side), Image.Resampling.BICUBIC)
        lost = float((shown - np.asarray(coarse, np.float32)[inner, inner]).std())
        detail = max(0.0, lost**2 - noise**2 * (1 - (fewer / side) ** 2)) ** 0.5  # grain loses by its share of pixels
        if detail < DETAIL_MIN * contrast:
            return fewer
    return side


class FaceNetwork:
    """An ONNX file that takes an aligned face and gives it restored."""

    def __init__(
        self, path: Path, settings: RestorationSettings, *, threads: int, providers: str | Sequence[str]
    ) -> None:
        self._session = open_session(path, threads=threads, providers=providers)
        self.template = settings.template
        self._mean, self._std = settings.mean, settings.std
        given = self._session.get_inputs()
        pictures = [one for one in given if len(one.shape) == 4]
        if len(pictures) != 1 or pictures[0].type not in NUMPY_TYPES:
            shown = ", ".join(f"{one.name} {one.type}{one.shape}" for one in given)
            raise ConfigError(f"{path} takes {shown}: a restorer takes one picture, float[1, 3, side, side]")
        self._input, self._type = pictures[0].name, NUMPY_TYPES[pictures[0].type]
        self.side = _side(path, pictures[0].shape)
        self._extra = _extra(path, [one for one in given if one is not pictures[0]], settings.extra)

    def restore(self, rgb: Pixels, matrix: Matrix) -> Pixels:
        face = warped(rgb, matrix * (self.side / SIDE), (self.side, self.side))
        values = (face.astype(np.float32) / 255.0 - self._mean) / self._std
        picture = np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis]).astype(self._type)
        name = self._session.get_outputs()[0].name  # the others, of GFPGAN, are for training
        result: Any = self._session.run([name], {self._input: picture, **self._extra})
        made = result[0][0].astype(np.float32).transpose(1, 2, 0) * self._std + self._mean
        if made.shape[2] != 3 or not np.isfinite(made).all():
            raise ValueError(f"the network gave {made.shape}, or values that are no numbers: is it a face restorer?")
        pixels = np.rint(made.clip(0.0, 1.0) * 255.0).astype(np.uint8)
        if pixels.shape[:2] == (SIDE, SIDE):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _side(path: Path, shape: Sequence[int | str | None]) -> int:
    """The square the file wants; 512, as all of them, where its size is free."""
    height, width = (one if isinstance(one, int) else SIDE for one in shape[2:])
    channels = shape[1]
    if height != width or (isinstance(channels, int) and channels != 3):
        raise ConfigError(f"{path} takes a picture of the shape {list(shape)}, not [1, 3, side, side]")
    return height


def _extra(path: Path, inputs: Sequence[Any], values: Mapping[str, float]) -> dict[str, NDArray[Any]]:
    """Tensors for inputs beside the picture, of the type and shape that the file names."""
    lacking = [one.name for one in inputs if one.name not in values or one.type not in NUMPY_TYPES]
    if lacking:
        raise ConfigError(f"{path} takes {', '.join(lacking)} beside the picture: give values in `extra`")
    return {
        one.name: np.full([size if isinstance(size, int) else 1 for size in one.shape], values[one.name]).astype(
            NUMPY_TYPES[one.type]
        )
        for one in inputs
    }

"""Super-resolution in tiles: memory depends on the tile, not on the picture.

Each tile is shown with a rim of its surroundings, which is cut off again, so no seam can be seen; beyond the picture
its last pixels are repeated. Where memory runs out a tile is done in quarters before anything fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from springtide.engines.onnx import open_session
from springtide.engines.protocol import Weights
from springtide.engines.upscaling.models import ANIMEVIDEO, SCALE, X4PLUS

if TYPE_CHECKING:
    import onnxruntime

SMALLEST_TILE = 32  # pixels: where not even this can be computed, nothing can
OUT_OF_MEMORY = ("alloc", "out of memory")  # in what ONNX Runtime says, on the processor and on CUDA

Pixels = NDArray[np.uint8]
OnPart = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class TileShape:
    """How large a network's tiles are, in pixels of what it is given."""

    side: int
    rim: int


# x4plus: 0.67 GB at the peak; it sees further than its rim, but what lies beyond 12 pixels changes nothing that can be
# seen. animevideov3 is 18 convolutions of 3 × 3: with a rim of 18 a tiled picture is the whole one to the last bit.
TILES = {X4PLUS: TileShape(168, 12), ANIMEVIDEO: TileShape(348, 18)}


class _Box(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


class Upscaler:
    """A network of factor four, loaded."""

    def __init__(self, session: onnxruntime.InferenceSession, tile: TileShape) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name
        self._tile = tile

    def run(self, rgb: Pixels, *, scale: int = SCALE) -> Pixels:
        """In one piece: uint8[h, w, 3] to uint8[scale × h, scale × w, 3]. scale: 1, 2 or 4."""
        given = np.ascontiguousarray(rgb.transpose(2, 0, 1)[np.newaxis]).astype(np.float32)
        given /= 255.0
        result: Any = self._session.run(None, {self._input: given})
        made: NDArray[np.float32] = result[0][0]
        if (step := SCALE // scale) > 1:
            channels, height, width = made.shape
            made = made.reshape(channels, height // step, step, width // step, step).mean((2, 4))
        np.clip(made, 0.0, 1.0, out=made)
        made *= 255.0
        return np.rint(made).astype(np.uint8).transpose(1, 2, 0)

    def enlarge(self, rgb: Pixels, *, scale: int, on_part: OnPart) -> Pixels:
        """In tiles. on_part: called with the fraction done; what it raises ends the work. Raises MemoryError."""
        height, width = rgb.shape[:2]
        out = np.empty((height * scale, width * scale, 3), np.uint8)
        done = 0
        for box in _boxes(height, width, self._tile.side):
            self._fill(out, rgb, box, scale)
            done += (box.bottom - box.top) * (box.right - box.left)
            on_part(done / (height * width))
        return out

    def _fill(self, out: Pixels, rgb: Pixels, box: _Box, scale: int) -> None:
        rim = self._tile.rim
        rows = np.clip(np.arange(box.top - rim, box.bottom + rim), 0, rgb.shape[0] - 1)
        columns = np.clip(np.arange(box.left - rim, box.right + rim), 0, rgb.shape[1] - 1)
        try:
            made = self.run(rgb[rows[:, np.newaxis], columns], scale=scale)
        except Exception as error:  # onnxruntime raises its own types
            if not _is_lack_of_memory(error):
                raise
            if max(box.bottom - box.top, box.right - box.left) <= SMALLEST_TILE:
                raise MemoryError(f"not even {SMALLEST_TILE} x {SMALLEST_TILE} pixels fit into memory") from error
        else:
            cut = made[rim * scale : -rim * scale, rim * scale : -rim * scale]
            out[box.top * scale : box.bottom * scale, box.left * scale : box.right * scale] = cut
            return
        for quarter in _quarters(box):
            self._fill(out, rgb, quarter, scale)


def open_upscaler(weights: Weights, folder: Path, *, threads: int, providers: str | Sequence[str]) -> Upscaler:
    """One of the two networks of `models`, ready. Raises ConfigError."""
    session = open_session(folder / weights.path, threads=threads, providers=providers)
    return Upscaler(session, TILES[weights])


def _boxes(height: int, width: int, side: int) -> Iterator[_Box]:
    """The picture in boxes of at most `side`, about equally large."""
    for top, bottom in _spans(height, side):
        for left, right in _spans(width, side):
            yield _Box(top, bottom, left, right)


def _spans(length: int, most: int) -> list[tuple[int, int]]:
    count = -(-length // most)
    return [(index * length // count, (index + 1) * length // count) for index in range(count)]


def _quarters(box: _Box) -> list[_Box]:
    middle, centre = (box.top + box.bottom) // 2, (box.left + box.right) // 2
    quarters = [
        _Box(top, bottom, left, right)
        for top, bottom in ((box.top, middle), (middle, box.bottom))
        for left, right in ((box.left, centre), (centre, box.right))
    ]
    return [one for one in quarters if one.bottom > one.top and one.right > one.left]


def _is_lack_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in OUT_OF_MEMORY)

"""One decoded frame as one array of pixels: upright, square, 8 bits, in the colours one sees.

A frame without a note of its matrix is taken as BT.709 from 720 lines on and BT.601 below, as players do. HDR (PQ and
HLG, what telephones film) is brought to BT.709.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HD_LINES = 720
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})
_ODDEST_PIXEL = 2  # anamorphic film is squeezed by two; more is a damaged header, and would cost memory


class Turn(NamedTuple):
    """How stored pixels become upright ones: first across the diagonal, then mirrored."""

    is_sideways: bool
    flips_x: bool
    flips_y: bool

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8[height, width, channels], contiguous."""
        import numpy as np

        if self.is_sideways:
            pixels = pixels.swapaxes(0, 1)
        if self.flips_x:
            pixels = pixels[:, ::-1]
        if self.flips_y:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


def turn_of(frame: VideoFrame) -> Turn:
    """From the display matrix that phones write: x' = a·x + c·y, y' = b·x + d·y, of which only the signs count."""
    notes = cast("SideDataContainer", frame.side_data)  # the library's own note of the type names another
    if SideDataType.DISPLAYMATRIX not in notes:
        return Turn(False, False, False)
    a, b, _, c, d = struct.unpack_from("=5i", bytes(notes[SideDataType.DISPLAYMATRIX]))
    if abs(b) > abs(a):
        return Turn(True, flips_x=c < 0, flips_y=b < 0)
    return Turn(False, flips_x=a < 0, flips_y=d < 0)


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """The size in square pixels of a frame whose pixels are `aspect` times as wide as high."""
    if not aspect or not 1 / _ODDEST_PIXEL <= aspect <= _ODDEST_PIXEL:
        return width, height
    return max(1, round(width * aspect)), height


class Painter:
    """Turns frames into arrays of one size; keeps the scaler between them."""

    def __init__(self, size: tuple[int, int], *, alpha: bool, threads: int) -> None:
        """size: width and height, upright. threads: 0 for as many as there are processors."""
        self._size, self._format, self._threads = size, "rgba" if alpha else "rgb24", threads
        self._scaler = VideoReformatter()

    def paint(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """uint8[height, width, 3 or 4], RGB or RGBA, contiguous and the caller's own."""
        turn = turn_of(frame)
        width, height = self._size[::-1] if turn.is_sideways else self._size
        is_smaller = width * height < frame.width * frame.height
        is_hdr = frame.color_trc in _HDR
        scaled = self._scaler.reformat(
            frame,
            width=width,
            height=height,
            format=self._format,
            src_colorspace=_matrix(frame),
            # The area average keeps thin lines of a large film in a small picture.
            interpolation=Interpolation.AREA if is_smaller else Interpolation.BICUBIC,
            dst_color_trc=ColorTrc.BT709 if is_hdr else None,
            dst_color_primaries=ColorPrimaries.BT709 if is_hdr else None,
            threads=self._threads,
        )
        pixels: Any = scaled.to_ndarray()
        return turn.apply(pixels)


def _matrix(frame: VideoFrame) -> Colorspace | None:
    if frame.colorspace != _UNSPECIFIED:
        return None
    return Colorspace.ITU709 if min(frame.width, frame.height) >= _HD_LINES else Colorspace.ITU601

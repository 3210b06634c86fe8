"""One video, frame by frame: memory does not grow with its length. Frames are looked at side by side, written in order.

With transparency the colours go on smoothly outside the subject: the background leaves no trace in the file, and the
codec nothing dark at the edge. The mask is a second video, which editors take as a luma matte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from springtide.engines.matting.colours import without_background
from springtide.engines.matting.masks import Steady, as_picture, refined
from springtide.engines.matting.networks import Floats, Network
from springtide.engines.matting.pictures import Behind, backdrop
from springtide.engines.matting.schema import Format, Input
from springtide.engines.matting.stills import Cut, backdrop_of
from springtide.engines.protocol import Progress
from springtide.media.film import Codec, Film, FilmWriter, opened_film

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREEN = "#00b140"  # chroma green, as screens are painted and keyers preset
CODECS = {Format.WEBM: Codec.VP9, Format.MOV: Codec.PRORES, Format.MP4: Codec.H264}
MOST_FPS = 60.0  # above it a frame is shown so briefly that its edge is not seen
COLOUR_SIDE = 320  # pixels at which subject and background colours are told apart: every frame costs it
PRESET = "fast"

Seen = tuple["NDArray[np.uint8]", Floats]


def cut_video(inputs: Input, network: Network, progress: Progress, *, lanes: int) -> Cut:
    """Files of the cut-out and the mask. Raises BadMedia."""
    assert inputs.video is not None
    progress(0.0, "decode")
    format_ = inputs.chosen_format
    behind = backdrop_of(inputs) or (GREEN if format_ is Format.MP4 else None)
    cutout, mask = progress.folder / f"cutout.{format_}", progress.folder / "mask.mp4"
    path = inputs.video.path
    with opened_film(path) as film:
        fps = min(film.fps, MOST_FPS)
        written = partial(FilmWriter, width=film.width, height=film.height, fps=fps, preset=PRESET)
        with (
            written(cutout, codec=CODECS[format_], alpha=behind is None, sound=path) as cut,
            written(mask, codec=Codec.H264) as matte,
        ):
            total = max(1.0, (film.duration_s or inputs.video.duration_s or 0.0) * fps)
            painter = _Painter(film, behind, is_coarse=network.spec.is_coarse)
            for pixels, seen in _seen(film, fps, network, lanes):
                shown, alpha = painter.paint(pixels, seen)
                cut.write(shown)
                matte.write(np.broadcast_to(alpha[..., np.newaxis], (*alpha.shape, 3)))
                progress(min(0.99, cut.frames_written / total), "matte")
        progress(0.99, "encode")
        return Cut(cutout, mask, matte.width, matte.height, frames=cut.frames_written)


def _seen(film: Film, fps: float, network: Network, lanes: int) -> Iterator[Seen]:
    """Every frame with the network's mask of it, in order. As many frames wait as there are lanes, and one; after
    memory ran out, none."""

    def look(pixels: NDArray[np.uint8]) -> Floats:
        return network(Image.fromarray(pixels))

    waiting: deque[tuple[NDArray[np.uint8], Future[Floats]]] = deque()
    allowed = lanes

    def next_seen() -> Seen:
        nonlocal allowed
        pixels, future = waiting.popleft()
        try:
            return pixels, future.result()
        except MemoryError:  # too much at once: from here on one by one
            allowed = 1
            wait([one for _, one in waiting])
            return pixels, look(pixels)

    with ThreadPoolExecutor(lanes) as pool:
        for pixels in film.frames(fps=fps, alpha=film.has_alpha):
            waiting.append((pixels, pool.submit(look, pixels)))
            while len(waiting) > (allowed if allowed > 1 else 0):
                yield next_seen()
        while waiting:
            yield next_seen()


class _Painter:
    """Frames and masks to what is written."""

    def __init__(self, film: Film, behind: Behind, *, is_coarse: bool) -> None:
        self._steady = Steady()
        self._is_coarse = is_coarse
        self._size = (film.width, film.height)
        self._behind = None if behind is None else backdrop(behind, self._size)

    def paint(self, pixels: NDArray[np.uint8], mask: Floats) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """What is shown (RGBA, or RGB on a background) and the alpha, uint8[h, w]. pixels: uint8[h, w, 3 or 4]."""
        picture = Image.fromarray(pixels)
        mask = self._steady(mask, picture)
        if self._is_coarse:
            mask = refined(mask, picture)
        alpha = np.asarray(as_picture(mask).resize(self._size, Image.Resampling.BILINEAR))
        if pixels.shape[2] == 4:
            alpha = (alpha.astype(np.uint16) * pixels[..., 3] // 255).astype(np.uint8)
            pixels = pixels[..., :3]
        subject = without_background(pixels, alpha, side=COLOUR_SIDE, fill=self._behind is None)
        if self._behind is None:
            return np.dstack([subject, alpha]), alpha
        return np.asarray(Image.composite(Image.fromarray(subject), self._behind, Image.fromarray(alpha))), alpha

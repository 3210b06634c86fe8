"""Something laid over pictures: a mark, a label, a line of subtitles. Prepared once, laid over every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class Overlay:
    """Ink with transparency, and the upper left corner of where it goes. What stands over an edge is cut off."""

    def __init__(self, ink: Image.Image, at: tuple[int, int], *, opacity: float = 1.0) -> None:
        """ink: RGBA. at: x and y, which may be negative."""
        import numpy as np

        pixels: Any = np.asarray(ink.convert("RGBA"), np.float32)
        self._cover: NDArray[np.float32] = pixels[..., 3:] * np.float32(opacity / 255)
        self._colour: NDArray[np.float32] = pixels[..., :3] * self._cover
        self._at = at

    def lay_on(self, pixels: NDArray[np.uint8]) -> None:
        """Change `pixels`, uint8[height, width, 3 or 4], where the ink is. In RGBA what was clear becomes ink."""
        import numpy as np

        (x, y), (height, width) = self._at, pixels.shape[:2]
        top, left = max(0, -y), max(0, -x)
        bottom, right = min(self._cover.shape[0], height - y), min(self._cover.shape[1], width - x)
        if top >= bottom or left >= right:
            return
        cover, colour = self._cover[top:bottom, left:right], self._colour[top:bottom, left:right]
        spot = pixels[y + top : y + bottom, x + left : x + right]
        if pixels.shape[2] == 3:
            spot[:] = np.rint(spot * (1 - cover) + colour).astype(np.uint8)
            return
        below = spot[..., 3:].astype(np.float32) / 255 * (1 - cover)
        whole = cover + below
        mixed = (colour + spot[..., :3] * below) / np.maximum(whole, 1e-6)
        spot[..., :3] = np.rint(mixed).astype(np.uint8)
        spot[..., 3:] = np.rint(whole * 255).astype(np.uint8)

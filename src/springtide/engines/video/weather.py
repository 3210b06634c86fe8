"""What falls or hangs in the air of a preview, and the light it is seen in.

Particles live in depth: some behind the subject, some before it; near ones are larger, faster and softer, and slide
sideways when the camera does. Every one is placed at fractions of a pixel, so slow ones glide. The light is a table of
tones and a matrix of colours, laid on the layers once and not on every frame. All chance comes from the generator that
is handed in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from PIL import Image, ImageFilter

from springtide.engines.video.camera import Pose
from springtide.engines.video.wording import Effect, Grade

if TYPE_CHECKING:
    from springtide.engines.video.brushes import Field


class _Kind(msgspec.Struct, frozen=True):
    """How one sort of particle looks and moves; lengths in frame heights, by eye at 480 and 1080 lines."""

    count: int
    radius: float  # of one at the subject's distance
    fall: float  # frame heights a second there
    slant: float  # sideways for each unit it falls
    streak: float  # length of its trace
    sway: float  # sideways and back
    strength: float  # 1 hides what is behind it
    colour: tuple[int, int, int]


_KINDS = {
    Effect.SNOW: _Kind(260, 0.0050, 0.16, 0.10, 0.0, 0.016, 0.85, (246, 249, 255)),
    Effect.RAIN: _Kind(300, 0.0013, 1.70, -0.10, 0.055, 0.0, 0.50, (205, 216, 230)),
    Effect.DUST: _Kind(170, 0.0052, -0.022, 0.35, 0.0, 0.030, 0.95, (255, 226, 160)),
}
NEAREST, FARTHEST = 1.5, 0.45  # disparities of particles; the subject is at 1
WORLD = (1.1, 1.2)  # frames: what particles repeat in is larger than the frame, so none is seen to come or go
FOG_COLOUR = (214, 220, 226)
FOG_AT_NIGHT = (58, 66, 84)
FOG_MOST = 0.62  # alpha of the thickest fog, above the horizon
FOG_DRIFT = 0.03  # frame widths a second


class Air:
    """The weather of one clip: `lay` it over a frame, first behind the subject, then before it."""

    def __init__(
        self, effects: Collection[Effect], size: tuple[int, int], rng: np.random.Generator, *, is_night: bool
    ) -> None:
        self._size = size
        self._clouds = [
            (_KINDS[effect], _strewn(_KINDS[effect], rng)) for effect in sorted(effects) if effect in _KINDS
        ]
        self._fog = _bank(size, rng) if Effect.FOG in effects else None
        self._fog_colour = FOG_AT_NIGHT if is_night else FOG_COLOUR

    def lay(self, frame: Image.Image, time_s: float, pose: Pose, *, before_subject: bool) -> None:
        """Draw on the frame what is in the air behind the subject, or before it, at `time_s` of the clip."""
        if self._fog is not None and not before_subject:
            width, height = self._size
            left = (FOG_DRIFT * time_s + pose.x * 0.7 + 0.15) % 1.0 * width
            frame.paste(self._fog_colour, None, self._fog.crop((round(left), 0, round(left) + width, height)))
        for kind, cloud in self._clouds:
            near = cloud[:, 2] >= 1.0
            veil = _veil(kind, cloud[near if before_subject else ~near], self._size, time_s, pose=pose)
            frame.paste(kind.colour, None, veil)


def graded(picture: Image.Image, grades: Collection[Grade], *, is_snowy: bool) -> Image.Image:
    """An RGB picture in the light that was asked for."""
    for matrix in _matrices(grades, is_snowy=is_snowy):
        picture = picture.convert("RGB", tuple(float(value) for value in matrix.ravel()))
    if Grade.NIGHT in grades:
        picture = picture.point([round(255 * (level / 255) ** 1.25) for level in range(256)] * 3)
    return picture


def vignette(size: tuple[int, int], *, strength: float = 0.18) -> Image.Image:
    """Darker corners, to be multiplied with a frame."""
    width, height = size
    x = (np.arange(width, dtype=np.float32) - width / 2) / (width * 0.62)
    y = (np.arange(height, dtype=np.float32) - height / 2) / (height * 0.66)
    light = 1.0 - strength * (x[None, :] ** 2 + y[:, None] ** 2).clip(0.0, 1.0)
    return Image.fromarray(np.rint(light * 255.0).astype(np.uint8)).convert("RGB")


def _matrices(grades: Collection[Grade], *, is_snowy: bool) -> list[Field]:
    """3 × 4 colour matrices, in the order they are applied."""
    found: list[Field] = []
    if Grade.WARM in grades:
        found.append(_tinted((1.08, 1.0, 0.84), saturation=1.08))
    if Grade.COLD in grades or is_snowy:
        found.append(_tinted((0.92, 0.99, 1.07), saturation=0.90))
    if Grade.NIGHT in grades:
        found.append(_tinted((0.50, 0.60, 0.86), saturation=0.55))
    if Grade.MONO in grades:
        found.append(_tinted((1.0, 1.0, 1.0), saturation=0.0))
    return found


def _tinted(gains: tuple[float, float, float], *, saturation: float) -> Field:
    luma = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    mixed = saturation * np.eye(3) + (1.0 - saturation) * luma[None, :]
    return np.hstack([np.array(gains)[:, None] * mixed, np.zeros((3, 1))])


def _strewn(kind: _Kind, rng: np.random.Generator) -> Field:
    """Particles: place across and down (0 to 1), disparity, brightness, phase of the sway."""
    cloud = rng.random((kind.count, 5))
    cloud[:, 2] = FARTHEST + (NEAREST - FARTHEST) * cloud[:, 2] ** 2.2  # many far, few near
    cloud[:, 3] = 0.45 + 0.55 * cloud[:, 3]
    return cloud


def _veil(kind: _Kind, cloud: Field, size: tuple[int, int], time_s: float, *, pose: Pose) -> Image.Image:
    """How much of each pixel is hidden by particles, 8-bit grey."""
    width, height = size
    cover = np.zeros((height, width), np.float32)
    slope = kind.slant * WORLD[0] * width / (WORLD[1] * height)  # of the way it falls, pixels by pixels
    for across, down, d, bright, phase in cloud.tolist():
        fallen = kind.fall * d * time_s
        y = ((down + fallen) % 1.0 * WORLD[1] - 0.1) * height
        aside = across + kind.slant * fallen + kind.sway * d * np.sin(1.7 * time_s + 6.283 * phase)
        x = ((aside - pose.x * d + pose.turn_x) % 1.0 * WORLD[0] - 0.05) * width
        radius = max(0.6, kind.radius * height * d * (0.7 + 0.6 * phase))
        # Out of focus when very near: larger and fainter.
        soft = 1.0 + 1.2 * max(0.0, d - 1.15)
        _dab(cover, x, y, radius * soft, bright * kind.strength / soft, streak=kind.streak * height * d, slope=slope)
    return Image.fromarray(np.rint(cover.clip(0.0, 1.0) * 255.0).astype(np.uint8))


def _dab(cover: Field, x: float, y: float, radius: float, strength: float, *, streak: float, slope: float) -> None:
    """Add one soft disc, or a streak that ends at (x, y)."""
    height, width = cover.shape
    reach = int(2.5 * radius) + 2
    tail_x = int(abs(slope) * streak) + 1 if streak else 0
    x0, x1 = max(0, int(x) - reach - tail_x), min(width, int(x) + reach + tail_x + 1)
    y0, y1 = max(0, int(y - streak) - reach), min(height, int(y) + reach + 1)
    if x0 >= x1 or y0 >= y1:
        return
    down = np.arange(y0, y1, dtype=np.float32) - np.float32(y)
    across = np.arange(x0, x1, dtype=np.float32) - np.float32(x)
    if streak:
        along = np.clip(1.0 + down / streak, 0.0, 1.0) * (down <= 0.0)
        from_line = across[None, :] - down[:, None] * np.float32(slope)
        cover[y0:y1, x0:x1] += strength * along[:, None] * np.exp(-((from_line / radius) ** 2))
    else:
        cover[y0:y1, x0:x1] += strength * np.outer(np.exp(-((down / radius) ** 2)), np.exp(-((across / radius) ** 2)))


def _bank(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Fog, twice as wide as the frame, that joins itself at its ends; thickest around the horizon."""
    width, height = size
    tall = np.zeros((height, width), np.float32)
    for cells, weight in ((3, 0.5), (6, 0.3), (12, 0.2)):
        coarse = rng.random((cells, 2 * cells), np.float32)
        coarse = np.concatenate([coarse[:, -2:], coarse, coarse[:, :2]], axis=1)  # so that it joins itself
        wide = np.asarray(
            Image.fromarray(coarse).resize((width * (2 * cells + 4) // (2 * cells), height), Image.Resampling.BICUBIC)
        )
        start = width // cells
        tall += weight * wide[:, start : start + width]
    v = (np.arange(height, dtype=np.float32) / height - 0.55) / 0.42
    alpha = FOG_MOST * np.exp(-(v**2))[:, None] * (0.35 + 0.95 * tall)
    one = Image.fromarray(np.rint(alpha.clip(0.0, 0.9) * 255.0).astype(np.uint8)).filter(ImageFilter.GaussianBlur(2))
    bank = Image.new("L", (2 * width, height))
    bank.paste(one, (0, 0))
    bank.paste(one, (width, 0))
    return bank

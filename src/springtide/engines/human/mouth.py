"""Where lips and chin go when a mouth opens so far, and what is seen inside it.

The upper lip rises a little, the lower lip and the jaw go down, corners come in or go out. Teeth stay where the skull
has them: a photo that shows its upper teeth keeps its own, any other gets teeth of a face's usual proportions, as
bright as the face is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from springtide.engines.human import anatomy
from springtide.engines.human.anatomy import Face
from springtide.engines.human.warp import Array, Pixels, Spline

WIDEST = 0.17  # of a face's height: between the lips of somebody who shouts
UPPER_SHARE = 0.15  # of the opening that is the upper lip's
CHIN_SHARE = 0.8  # of the lower lip's way that the chin goes along
SPREAD, NARROW = 0.14, 0.10  # of the mouth's width: spread and rounded lips, and how far corners come in when it opens
REACH = 0.95  # heights from the mouth: beyond it nothing moves
FADE = 0.18  # of the reach: where the movement fades
LIP_LINE = 0.003  # heights: closed lips meet in a dark line, whose halves go with the lips and are painted over
SEAM = 0.006  # heights: the shadow between closed lips that the photo showed apart
ROLLED = (
    0.010  # heights: meshes end above the lower lip's edge where teeth are behind it, which must not be pulled along
)
SHOWS_TEETH = 0.028  # heights: photos whose lips are that far apart show the teeth behind
# Upper teeth by the anatomy books, in heights of a face of 180 mm: how far they hang below a relaxed upper lip, and
# where one ends and the next begins (central and lateral incisors, canines), seen from the front.
TEETH_BELOW = 0.036
TEETH_EDGES = (0.0, 0.046, 0.080, 0.110, 0.132)
TEETH_COLOUR = np.array([240, 222, 206], np.float32)
CAVITY_COLOUR = np.array([66, 24, 25], np.float32)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
COLOURED = 0.2  # (highest - lowest) / highest: skin in colour has more, a grey picture none
LIGHT = 0.35  # how much of the skin's hue is that of the light; the rest is the skin's own
LINE_COLOUR = np.array([150, 82, 76], np.float32)  # between lips that hardly part
TONGUE_COLOUR = np.array([168, 84, 84], np.float32)
_PROFILE = (np.sin(np.linspace(0, np.pi, 11)) ** 0.75).astype(np.float32)[:, None]  # lips part least at the corners
_TURNS = np.linspace(0, 2 * np.pi, 20, endpoint=False, dtype=np.float32)
_RING = np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1)


@dataclass(frozen=True)
class Lips:
    """A mouth as it shall be, in local coordinates."""

    upper: Array  # float32[11, 2]: inner edge of the upper lip
    lower: Array
    rest: Array  # float32[11, 2]: where the upper lip's edge is in the picture
    gap: float  # between them in the middle
    half_width: float
    parted: float  # 0 to 1: whether the picture shows the lips apart
    back: Spline  # from a place in the new picture to where its colour is in the old one, as a displacement

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the opening."""
        both = np.concatenate([self.upper, self.lower])
        (left, top), (right, bottom) = both.min(0), both.max(0)
        return float(left), float(top), float(right), float(bottom)


def lips_of(face: Face, *, opening: float, width: float) -> Lips:
    """opening: 0 to 1; width: -1 to 1."""
    points = face.points
    upper_in, lower_in = points[list(anatomy.UPPER_INNER)], points[list(anatomy.LOWER_INNER)]
    parted = min(1.0, face.gap / SHOWS_TEETH)
    lower_in = lower_in + np.array([0, ROLLED * parted], np.float32) * _PROFILE
    upper_out, lower_out = points[list(anatomy.UPPER_OUTER)], points[list(anatomy.LOWER_OUTER)]
    gap = opening * WIDEST
    rest = upper_in.copy()
    rest[:, 1] += np.minimum(lower_in[:, 1] - upper_in[:, 1], 0)
    apart = max(gap, SEAM * parted)
    narrowed = np.array([1 + SPREAD * width * min(1.0, 3 * opening + 0.2) - NARROW * opening, 1], np.float32)
    down = np.array([0, 1], np.float32)
    upper = (rest - down * (UPPER_SHARE * apart * _PROFILE)) * narrowed
    lower = (rest + down * ((1 - UPPER_SHARE) * apart * _PROFILE)) * narrowed
    upper_edge = (upper_out - down * (0.9 * UPPER_SHARE * gap * _PROFILE)) * narrowed
    moved = lower - lower_in
    lower_edge = lower_out + moved
    lower_edge[[0, -1]] = upper_edge[[0, -1]]
    chin = moved[5, 1]
    parts = (
        (upper_in, upper),
        (lower_in[1:-1], lower[1:-1]),
        (upper_out, upper_edge),
        (lower_out[1:-1], lower_edge[1:-1]),
        _pulled(points, anatomy.JAW, CHIN_SHARE * chin * np.array(anatomy.JAW_FOLLOWS, np.float32)),
        _pulled(points, anatomy.BELOW_LIP, 0.9 * chin),
        _pulled(points, anatomy.CHEEKS, 0.12 * chin),
        _pulled(points, anatomy.STILL, 0.0),
        (_RING * REACH, _RING * REACH),
    )
    before = np.concatenate([part[0] for part in parts])
    after = np.concatenate([part[1] for part in parts])
    half_width = float(upper[-1, 0] - upper[0, 0]) / 2
    back = Spline(after, before - after)
    return Lips(upper=upper, lower=lower, rest=rest, gap=gap, half_width=half_width, parted=parted, back=back)


def _pulled(points: Array, which: tuple[int, ...], way: Array | float) -> tuple[Array, Array]:
    before = points[list(which)]
    after = before.copy()
    after[:, 1] += way
    return before, after


def faded(places: Array, displacements: Array) -> Array:
    """Nothing moves beyond the reach of a mouth."""
    distance = np.sqrt((places**2).sum(1)) / REACH
    return displacements * np.clip((1 - distance) / FADE, 0, 1)[:, None]


@dataclass(frozen=True)
class Teeth:
    """Upper teeth that a picture shows: a strip of it, the corners of the mouth at its ends."""

    strip: Array  # float32[rows, columns, 3]: from the upper lip's edge down
    height: float  # local
    half_width: float

    def at(self, across: Array, below: Array) -> Array:
        """across, below: local places under the middle of the upper lip's edge. Returns float32[..., 3]."""
        rows, columns = self.strip.shape[:2]
        x = np.clip((across / self.half_width + 1) / 2 * (columns - 1), 0, columns - 1.001)
        y = np.clip(below / self.height * (rows - 1), 0, rows - 1.001)
        left, top = x.astype(np.intp), y.astype(np.intp)
        fx, fy = (x - left)[..., None], (y - top)[..., None]
        strip = self.strip
        upper = strip[top, left] * (1 - fx) + strip[top, left + 1] * fx
        lower = strip[top + 1, left] * (1 - fx) + strip[top + 1, left + 1] * fx
        return upper * (1 - fy) + lower * fy


class Inside:
    """Paints what is between the lips."""

    def __init__(self, skin: Array, teeth: Teeth | None) -> None:
        """skin: its colour, RGB from 0 to 255, which says how bright and how coloured the light is.
        teeth: the picture's own; None for made-up ones."""
        self._teeth = teeth
        brightness = float(skin @ LUMA) / 255
        colour = min(1.0, float(np.ptp(skin) / max(float(skin.max()), 1.0)) / COLOURED)

        def lit(value: Array) -> Array:
            grey = value @ LUMA
            return grey + (value - grey) * colour

        light = (skin / max(float(skin @ LUMA), 1.0)) ** LIGHT  # what lights the skin lights the teeth
        self._cavity = lit(CAVITY_COLOUR) * brightness * (0.55 + 0.5 * brightness)
        self._tongue = lit(TONGUE_COLOUR) * brightness * 0.8
        self._line = lit(LINE_COLOUR) * brightness
        self._enamel = lit(TEETH_COLOUR) * (0.40 + 0.55 * brightness) * light

    def paint(self, picture: Pixels, lips: Lips, places: Array, pixel: float) -> None:
        """picture: uint8[h, w, 3], changed in place. places: float32[2, h, w], local. pixel: its size, local."""
        x, y = places
        line = LIP_LINE * max(lips.parted, min(1.0, lips.gap / 0.02))
        top = np.interp(x, lips.upper[:, 0], lips.upper[:, 1]).astype(np.float32) - line
        bottom = np.interp(x, lips.lower[:, 0], lips.lower[:, 1]).astype(np.float32) + line
        edge = max(1.2 * pixel, 0.004)  # lips are round: their edge is never hard
        inside = np.clip(np.minimum(y - top, bottom - y) / edge + 0.5, 0, 1)
        inside *= np.clip((lips.half_width - np.abs(x - lips.upper[[0, -1], 0].mean())) / (2 * edge), 0, 1)
        inside *= np.clip(np.maximum(bottom - top, 0) / (0.5 * edge), 0, 1)
        seen = inside > 1 / 255
        if not seen.any():
            return
        colour = self._colours(lips, x[seen], y[seen], top[seen], bottom[seen])
        picture[seen] = (
            (_mixed(picture[seen].astype(np.float32), colour, inside[seen]) + 0.5).clip(0, 255).astype(np.uint8)
        )

    def _colours(self, lips: Lips, x: Array, y: Array, top: Array, bottom: Array) -> Array:
        u = (x - lips.upper[[0, -1], 0].mean()) / lips.half_width
        v = np.clip((y - top) / np.maximum(bottom - top, 1e-4), 0, 1)
        wide = min(1.0, lips.gap / 0.06)
        depth = 1 - 0.55 * np.exp(-(((v - 0.45) / 0.3) ** 2))
        colour = self._cavity * depth[..., None]
        tongue = np.clip((v - 0.6) / 0.3, 0, 1) * np.clip(1 - (u / 0.75) ** 2, 0, 1) * wide
        colour = _mixed(colour, self._tongue, tongue * 0.9)
        colour = self._with_upper_teeth(colour, lips, x, y, u)
        shadow = 0.62 + 0.38 * np.clip((y - top) / 0.016, 0, 1)
        return _mixed(self._line, colour * shadow[..., None], np.full_like(x, np.clip((lips.gap - 0.006) / 0.02, 0, 1)))

    def _with_upper_teeth(self, colour: Array, lips: Lips, x: Array, y: Array, u: Array) -> Array:
        below = y - np.interp(x, lips.rest[:, 0], lips.rest[:, 1]).astype(np.float32)
        ends = np.clip((0.9 - np.abs(u)) / 0.2, 0, 1) * min(1.0, max(0.0, (lips.gap - 0.006) / 0.012))
        if self._teeth is not None:
            edge = self._teeth.height * (1 - 0.25 * u**2)
            shown = np.clip((edge - below) / 0.008, 0, 1) * ends
            return _mixed(colour, self._teeth.at(x, np.maximum(below, 0.1 * self._teeth.height)), shown)
        middle = np.abs(x - lips.rest[5, 0])
        apart = middle[..., None] - np.array(TEETH_EDGES, np.float32)
        nearest = np.abs(apart).min(-1)
        length = TEETH_BELOW * (1 - 0.35 * (middle / 0.13) ** 2) - 0.005 * np.clip(1 - nearest / 0.010, 0, 1) ** 2
        shown = np.clip((length - below) / 0.006, 0, 1) * ends
        light = (1 - 0.10 * np.exp(-((nearest / 0.004) ** 2))) * np.exp(-((middle / 0.135) ** 2))
        light *= 0.86 + 0.14 * np.clip(below / (0.7 * TEETH_BELOW), 0, 1)
        return _mixed(colour, self._enamel * light[..., None], shown)


def _mixed(below: Array, above: Array, share: Array) -> Array:
    return below + (above - below) * share[..., None]

"""Paints a scene from the words of a prompt alone: layers from the sky to the near ground, a title card in depth.

It promises the same scene for the same words and seed, and a palette and shapes that fit the words. It refuses to
understand more than the words of `wording`: nobody walks through these streets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from springtide.engines.video import brushes
from springtide.engines.video.camera import Reach
from springtide.engines.video.layers import Layer
from springtide.engines.video.wording import Effect, Grade, Place, Reading

if TYPE_CHECKING:
    from springtide.engines.video.brushes import Colour, Field, Rng

OVERSCAN = 1.36  # of the frame: what the camera may come to see
DENSITY = 1.15  # pixels of a layer for one of the frame
SLOTS = (0.24, 0.38, 0.60, 0.95)  # disparities of the ground's layers, far to near
SKY, CLOUD = 0.05, 0.13
BEHIND = 0.32  # of the canvas below the horizon: no fold of the land leaves the sky open so far down
HIDDEN = 0.17  # of the canvas: what is this far below where the next fold begins is behind it, and not drawn
DITHER = 1.6  # levels of grain that keep a smooth sky from showing steps
WITHOUT_WORDS = (Place.MOUNTAINS, Place.SEA, Place.DESERT, Place.MEADOW, Place.FOREST)
# Where several places are named, this one is behind that one; the sea is always in front.
FAR_TO_NEAR = (Place.MOUNTAINS, Place.DESERT, Place.CITY, Place.MEADOW, Place.FOREST)


class Light(msgspec.Struct, frozen=True):
    """The colours of a time of day."""

    sky: tuple[tuple[float, Colour], ...]  # stops from the zenith (0) to the horizon (1)
    haze: Colour  # what distant things fade into
    sun: Colour | None  # of the disc and its glow
    ground: Colour  # what the light does to the ground's colours
    windows: float  # part of a city's windows that are lit


DAY = Light(
    ((0.0, (52, 104, 182)), (0.6, (128, 176, 222)), (1.0, (214, 229, 240))),
    (206, 222, 235),
    None,
    (0.92, 0.94, 0.96),
    0.0,
)
SUNSET = Light(
    ((0.0, (44, 42, 96)), (0.45, (150, 84, 118)), (0.75, (240, 134, 92)), (1.0, (255, 214, 142))),
    (246, 168, 118),
    (255, 244, 214),
    (0.46, 0.33, 0.38),
    0.22,
)
NIGHT = Light(
    ((0.0, (5, 8, 26)), (0.6, (16, 26, 62)), (1.0, (44, 62, 106))),
    (44, 60, 100),
    (222, 230, 246),
    (0.16, 0.20, 0.34),
    0.42,
)
WARM_NIGHT = Light(
    ((0.0, (10, 8, 30)), (0.6, (48, 28, 66)), (1.0, (150, 78, 78))),
    (110, 62, 78),
    (255, 226, 190),
    (0.20, 0.17, 0.28),
    0.45,
)
OVERCAST = Light(
    ((0.0, (126, 142, 164)), (0.6, (178, 190, 204)), (1.0, (222, 229, 236))),
    (220, 227, 235),
    None,
    (0.74, 0.79, 0.88),
    0.15,
)
SPACE = Light(((0.0, (4, 4, 14)), (1.0, (18, 12, 42))), (20, 16, 44), None, (0.14, 0.16, 0.28), 0.4)

EARTH: dict[Place, Colour] = {
    Place.MOUNTAINS: (82, 92, 108),
    Place.FOREST: (34, 66, 46),
    Place.CITY: (84, 90, 110),
    Place.DESERT: (222, 164, 98),
    Place.MEADOW: (104, 146, 68),
    Place.SEA: (22, 88, 124),
}
SNOW_COLOUR = (236, 241, 248)
WINDOW_COLOUR = (255, 206, 126)


class Canvas(msgspec.Struct, frozen=True):
    """Measures of the layers that are painted."""

    shape: tuple[int, int]  # rows, columns
    reach: Reach
    horizon: int  # row


def scene(reading: Reading, width: int, height: int, rng: Rng) -> list[Layer]:
    """Layers, far to near, for frames of width × height."""
    canvas = _canvas(width, height, rng)
    places = _ground_of(reading, rng)
    is_snowy = Effect.SNOW in reading.effects
    light = _light_of(reading)
    sun = (canvas.shape[1] * rng.uniform(0.32, 0.68), canvas.horizon - canvas.shape[0] * _sun_height(light, rng))
    sky = _sky(canvas, light, rng, sun, reading)
    layers = [_above_ground(sky, canvas) if places else sky]
    if (Place.SPACE not in reading.places and light is not OVERCAST) or Place.CLOUDS in reading.places:
        layers.append(_clouds(canvas, light, rng, sun))
    if Place.SPACE in reading.places and not places:
        return [*layers, *_star_fields(canvas, rng)]
    for number, (place, disparity) in enumerate(_slots(places)):
        closeness = (number + 1) / len(SLOTS)
        layers.append(_ground(place, canvas, light, rng, _At(disparity, closeness, is_snowy)))
    if Place.SEA in places:
        layers.append(_sea(canvas, light, rng, sun))
    if not places:
        layers.extend(_sea_of_clouds(canvas, light, rng))
    return layers


def _light_of(reading: Reading) -> Light:
    """The time of day the words ask for."""
    if Place.SPACE in reading.places and not set(reading.places) - {Place.SPACE, Place.CLOUDS}:
        return SPACE
    if Grade.NIGHT in reading.grades:
        return WARM_NIGHT if Grade.WARM in reading.grades else NIGHT
    if Grade.WARM in reading.grades:
        return SUNSET
    gloomy = {Effect.SNOW, Effect.RAIN, Effect.FOG} & set(reading.effects) or Grade.COLD in reading.grades
    return OVERCAST if gloomy else DAY


def _ground_of(reading: Reading, rng: Rng) -> tuple[Place, ...]:
    """What the scene stands on; chosen by chance where the words name no place. Empty: only sky."""
    named = [place for place in reading.places if place not in (Place.SPACE, Place.CLOUDS)]
    if named or Place.SPACE in reading.places or Place.CLOUDS in reading.places:
        return tuple(named)
    return (WITHOUT_WORDS[int(rng.integers(len(WITHOUT_WORDS)))],)


class _At(msgspec.Struct, frozen=True):
    """Where a layer of the ground is, and whether snow lies on it."""

    disparity: float
    closeness: float  # 0 far to 1 near
    is_snowy: bool


def _canvas(width: int, height: int, rng: Rng) -> Canvas:
    columns, rows = round(width * OVERSCAN * DENSITY), round(height * OVERSCAN * DENSITY)
    half_w, half_h = OVERSCAN / 2, OVERSCAN / 2 * height / width
    return Canvas((rows, columns), Reach(half_w, half_h, half_w, half_h), round(rows * rng.uniform(0.52, 0.58)))


def _sun_height(light: Light, rng: Rng) -> float:
    """Above the horizon, as a part of the canvas."""
    return float(rng.uniform(0.05, 0.10) if light is SUNSET else rng.uniform(0.22, 0.30))


def _slots(places: tuple[Place, ...]) -> list[tuple[Place, float]]:
    """Which place each layer of the ground shows."""
    land = [place for place in FAR_TO_NEAR if place in places][:2]
    if not land:
        return []
    if Place.SEA in places:  # land on the far shore only
        return [(land[0], SLOTS[0]), (land[-1], SLOTS[1])]
    return [(land[min(len(land) - 1, number * len(land) // len(SLOTS))], d) for number, d in enumerate(SLOTS)]


def _sky(canvas: Canvas, light: Light, rng: Rng, sun: tuple[float, float], reading: Reading) -> Layer:
    rows, _ = shape = canvas.shape
    stops = [(place * canvas.horizon / rows, colour) for place, colour in light.sky]
    colours = np.broadcast_to(brushes.gradient(stops, rows), (*shape, 3)).copy()
    if light in (NIGHT, WARM_NIGHT, SPACE):
        count = 900 if Place.SPACE in reading.places else 320
        lowest = rows if light is SPACE else canvas.horizon
        if Effect.RAIN not in reading.effects:
            points = brushes.stars(rng, shape, count=count, lowest=lowest)[..., None]
            colours += points * brushes.colour((220, 228, 255))
    if Place.SPACE in reading.places:
        colours += _nebula(shape, rng)
    if light.sun is not None and Effect.RAIN not in reading.effects:
        radius = rows * (0.050 if light is SUNSET else 0.034)
        near = brushes.glow(shape, *sun, radius * 2.2)[..., None]
        wide = brushes.glow(shape, *sun, radius * 7.0)[..., None]
        colours += near * brushes.colour(light.sun) * (0.34 if light is SUNSET else 0.20)
        colours += wide * brushes.colour(light.sun) * (0.12 if light is SUNSET else 0.07)
        colours = brushes.mixed(colours, light.sun, brushes.disc(shape, *sun, radius)[..., None])
    colours += rng.normal(0.0, DITHER, (*shape, 1)).astype(np.float32)
    return Layer(brushes.picture(colours), None, SKY, canvas.reach)


def _above_ground(sky: Layer, canvas: Canvas) -> Layer:
    """The sky without what the land hides, which then need not be drawn."""
    rows, columns = canvas.shape
    shown = min(rows, round(canvas.horizon + rows * BEHIND))
    tall = canvas.reach.top + canvas.reach.bottom
    reach = canvas.reach._replace(bottom=tall * shown / rows - canvas.reach.top)
    return Layer(sky.colour.crop((0, 0, columns, shown)), None, sky.disparity, reach)


def _nebula(shape: tuple[int, int], rng: Rng) -> Field:
    cloud = brushes.noise(rng, shape, cells=2.5, octaves=6)
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    band = np.exp(-((((y - rows * 0.45) + (x - columns / 2) * 0.35) / (rows * 0.20)) ** 2))
    strength = (band * (0.55 + 0.75 * cloud)).clip(0.0, 1.2)[..., None]
    hue = brushes.noise(rng, shape, cells=1.5, octaves=3)[..., None].clip(-1.0, 1.0) * 0.5 + 0.5
    return strength * brushes.mixed((112, 60, 150), (50, 104, 170), hue)


def _clouds(canvas: Canvas, light: Light, rng: Rng, sun: tuple[float, float]) -> Layer:
    """Long thin clouds above the horizon, lit from below at sunset."""
    rows, _ = shape = canvas.shape
    cover = brushes.noise(rng, shape, cells=4.0, octaves=6, stretch=3.2)
    v = np.arange(rows, dtype=np.float32)[:, None] / canvas.horizon
    mask = ((cover - 0.05) * 1.5).clip(0.0, 1.0) * np.interp(v, (0.0, 0.25, 0.8, 1.0), (0.15, 0.85, 0.75, 0.1)).astype(
        np.float32
    )
    bright = {DAY: (255, 255, 255), SUNSET: (255, 176, 132), OVERCAST: (196, 206, 217)}.get(light, light.haze)
    shade = brushes.mixed(light.sky[0][1], bright, 0.45)
    colours = brushes.mixed(bright, shade, ((cover - 0.25) * 1.1).clip(0.0, 0.8)[..., None])
    thin = 0.85 if light in (DAY, SUNSET, OVERCAST) else 0.45
    if light.sun is not None:
        mask = mask * (1.0 - 0.92 * brushes.disc(shape, *sun, rows * 0.10, soft=rows * 0.08))
    return Layer(brushes.picture(colours), brushes.stencil(mask * thin), CLOUD, canvas.reach)


def _star_fields(canvas: Canvas, rng: Rng) -> list[Layer]:
    """Stars nearer than the sky, and a planet: depth where there is no ground."""
    rows, columns = shape = canvas.shape
    layers: list[Layer] = []
    for disparity, count in ((0.35, 120), (0.7, 60)):
        points = brushes.stars(rng, shape, count=count, lowest=rows)
        colours = np.full((*shape, 3), (226, 232, 255), np.float32)
        layers.append(Layer(brushes.picture(colours), brushes.stencil(points), disparity, canvas.reach))
    radius, x, y = rows * 0.34, columns * rng.uniform(0.22, 0.78), rows * 0.98
    lit = brushes.disc(shape, x, y, radius)
    rim = (brushes.glow(shape, x, y - radius * 0.95, radius * 0.55) * 1.4).clip(0.0, 1.0)[..., None]
    bands = brushes.noise(rng, shape, cells=5, octaves=5, stretch=4.0)[..., None]
    colours = brushes.mixed((10, 12, 30), (126, 150, 196), rim) * (1.0 + 0.22 * bands)
    layers.append(Layer(brushes.picture(colours), brushes.stencil(lit), 1.0, canvas.reach))
    return layers


def _sea_of_clouds(canvas: Canvas, light: Light, rng: Rng) -> list[Layer]:
    """Tops of clouds seen from above: the ground of a sky."""
    rows, columns = shape = canvas.shape
    layers: list[Layer] = []
    for number, disparity in enumerate(SLOTS):
        closeness = (number + 1) / len(SLOTS)
        top = canvas.horizon + rows * (0.02 + 0.30 * closeness**1.5)
        heights = top - brushes.line(rng, columns, peaks=5 / (0.6 + closeness), rough=0.42) * rows * 0.06 * (
            0.5 + closeness
        )
        mask = brushes.below(heights, rows, soft=rows * (0.03 + 0.05 * closeness))
        puffs = brushes.noise(rng, shape, cells=7 / (0.5 + closeness), octaves=6, stretch=1.8)
        white = (
            brushes.mixed(light.haze, (255, 252, 248), 0.55)
            if light in (DAY, SUNSET)
            else brushes.colour(light.haze) * 1.1
        )
        shade = brushes.mixed(light.haze, light.sky[0][1], 0.42)
        colours = brushes.mixed(shade, white, (0.55 + 0.5 * puffs).clip(0.0, 1.0)[..., None])
        mask = mask * (0.9 + 0.35 * puffs).clip(0.0, 1.0)
        layers.append(Layer(brushes.picture(colours), brushes.stencil(mask), disparity, canvas.reach))
    return layers


def _ground(place: Place, canvas: Canvas, light: Light, rng: Rng, at: _At) -> Layer:
    """One fold of the land."""
    rows, columns = shape = canvas.shape
    near = at.closeness
    drop = rows * _drop(near)
    peaks, rough, relief = {
        Place.MOUNTAINS: (3.2, 0.62, 0.24 - 0.15 * near),
        Place.DESERT: (2.2, 0.0, 0.05 + 0.03 * near),
        Place.CITY: (2.0, 0.1, 0.01),
        Place.FOREST: (2.6, 0.35, 0.07),
    }.get(place, (2.4, 0.15, 0.06))
    skyline = brushes.line(rng, columns, peaks=peaks / (0.55 + near) + 1.0, rough=rough)
    heights = canvas.horizon + drop - rows * relief * (skyline + (0.55 if place is Place.MOUNTAINS else 0.0))
    mask = brushes.below(heights, rows)
    hidden = round(canvas.horizon + rows * (_drop(near + 1 / len(SLOTS)) + HIDDEN))
    mask[hidden:] = 0.0 if near < 1.0 else mask[hidden:]
    earth = _earth(place, light, near, is_snowy=at.is_snowy)
    depth = ((np.arange(rows, dtype=np.float32)[:, None] - heights[None, :]) / (rows * 0.34)).clip(0.0, 1.0)[..., None]
    colours = brushes.mixed(earth, light.haze, depth * (0.75 - 0.72 * near))
    colours = colours * (1.0 + _texture(place, rng, shape, heights, near)[..., None])
    if place is Place.MOUNTAINS and near < 0.8:
        colours = _snow_caps(colours, light, rng, canvas, at)
    if place is Place.FOREST or (place is Place.MOUNTAINS and near > 0.7):
        size = rows * (0.035 + 0.20 * near**2.2)
        trees = brushes.pines(rng, heights, rows, size=size, count=int(3.2 * columns / size) + 6)
        dark = _earth(Place.FOREST, light, near, is_snowy=False) * 0.8
        colours = brushes.mixed(colours, dark, (trees * (1.0 - mask))[..., None])
        mask = np.maximum(mask, trees)
    if place is Place.CITY:
        walls, windows = brushes.houses(
            rng, shape, ground=canvas.horizon + drop + rows * 0.04, size=rows * (0.22 + 0.24 * near), lit=light.windows
        )
        colours = brushes.mixed(earth, light.haze, depth * (0.55 - 0.5 * near))
        colours = brushes.mixed(colours, WINDOW_COLOUR, (windows * (0.35 + 0.6 * near))[..., None])
        mask = np.maximum(mask, walls)
        mask[hidden:] = 0.0 if near < 1.0 else mask[hidden:]
    return Layer(brushes.picture(colours), brushes.stencil(mask), at.disparity, canvas.reach)


def _drop(near: float) -> float:
    """How far below the horizon a fold of the land begins, as a part of the canvas."""
    return 0.36 * max(0.0, near - 0.25) ** 1.15


def _earth(place: Place, light: Light, near: float, *, is_snowy: bool) -> Field:
    """The colour of the land at a distance: its own in this light, and haze for the air before it."""
    own = brushes.colour(EARTH[place])
    if is_snowy and place is not Place.CITY:
        own = brushes.mixed(own, SNOW_COLOUR, 0.80) * np.float32(1.3 if light in (NIGHT, WARM_NIGHT) else 1.0)
    return brushes.mixed(own * brushes.colour(light.ground), light.haze, 0.80 * (1.0 - near) ** 0.9)


def _texture(place: Place, rng: Rng, shape: tuple[int, int], heights: Field, near: float) -> Field:
    """How much lighter or darker the land is from place to place."""
    if place is Place.DESERT:  # a lit and a shaded side of each dune
        soft = np.convolve(np.pad(heights, 60, mode="edge"), np.hanning(121) / np.hanning(121).sum(), "valid")
        slope = np.gradient(soft) / (np.abs(np.gradient(soft)).max() + 1e-6)
        rows = np.arange(shape[0], dtype=np.float32)[:, None]
        fades = np.exp(-((rows - heights[None, :]).clip(0.0, None) / (shape[0] * 0.10)))
        ripples = brushes.noise(rng, shape, cells=26 / (0.3 + near), octaves=3, stretch=7.0)
        return (0.22 * slope[None, :] * fades + 0.030 * ripples).astype(np.float32)
    grain = brushes.noise(rng, shape, cells=12 / (0.4 + near), octaves=5, stretch=1.6)
    return grain * np.float32(0.05 + 0.06 * near)


def _snow_caps(colours: Field, light: Light, rng: Rng, canvas: Canvas, at: _At) -> Field:
    """White on what is high, with ragged lower edges; the side away from the light is bluer."""
    rows, _ = canvas.shape
    line = canvas.horizon + rows * (0.02 if at.is_snowy else -0.10)
    ragged = brushes.noise(rng, canvas.shape, cells=10, octaves=6, stretch=0.7) * rows * 0.05
    y = np.arange(rows, dtype=np.float32)[:, None]
    high = ((line - y + ragged) / (rows * 0.02)).clip(0.0, 1.0)
    relief = brushes.noise(rng, canvas.shape, cells=7, octaves=6, stretch=0.8)
    slope = np.gradient(relief, axis=1) - np.gradient(relief, axis=0)
    lit = (0.5 + 0.5 * np.tanh(slope / (np.abs(slope).mean() + 1e-6)))[..., None]
    white = brushes.mixed(brushes.colour(SNOW_COLOUR) * 0.72, SNOW_COLOUR, lit) * brushes.colour(light.ground)
    white = brushes.mixed(white, light.haze, 0.55 * (1.0 - at.closeness))
    return brushes.mixed(colours, white, (high * 0.85)[..., None])


def _sea(canvas: Canvas, light: Light, rng: Rng, sun: tuple[float, float]) -> Layer:
    """A plane of water to the horizon, with the sky's colours on it and the sun's road."""
    rows, columns = shape = canvas.shape
    waves = brushes.water(rng, shape, horizon=canvas.horizon)
    v = ((np.arange(rows, dtype=np.float32) - canvas.horizon) / (rows - canvas.horizon)).clip(0.0, 1.0)[:, None, None]
    deep = brushes.colour(EARTH[Place.SEA]) * brushes.colour(light.ground)
    far = brushes.mixed(deep, light.haze, 0.75)
    colours = brushes.mixed(far, brushes.mixed(deep, light.sky[0][1], 0.35), v**0.6)
    colours = colours * (1.0 + 0.20 * waves[..., None])
    if light.sun is not None:
        x = np.arange(columns, dtype=np.float32)[None, :]
        road = np.exp(-(((x - sun[0]) / (columns * (0.035 + 0.10 * v[..., 0]))) ** 2))
        glitter = (road * (0.35 + 1.3 * waves)).clip(0.0, 1.0)[..., None] * (0.85 if light is SUNSET else 0.5)
        colours = brushes.mixed(colours, light.sun, glitter)
    mask = brushes.below(np.full(columns, canvas.horizon, np.float32), rows)
    column = np.interp((np.arange(24) + 0.5) / 24, (canvas.horizon / rows, 1.0), (SLOTS[1] - 0.02, 1.15))
    disparity = np.repeat(column[:, None], 4, axis=1).astype(np.float32)
    return Layer(brushes.picture(colours), brushes.stencil(mask), disparity, canvas.reach)

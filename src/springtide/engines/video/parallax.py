"""Video without a generative model: a camera moves through a picture parted into layers, or through a painted scene.

A preview for whoever plans a shot, and a stand-in that speaks the same schema as a video model: nobody in it moves,
nothing is made up beyond what the camera uncovers, and the result says so (`generative: false`). It promises a parallax
that is geometry (see `camera`), flat memory, progress by the frame, and the same bytes for the same inputs and seed. It
refuses sizes that its schema does not allow; any text is a prompt, and what was not understood has no effect.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import Field

from springtide.engines.made import Made
from springtide.engines.matting.isnet import MODEL
from springtide.engines.onnx import OnnxSettings, open_session
from springtide.engines.protocol import Engine, OutputFile, Progress
from springtide.engines.settings import read_settings
from springtide.engines.video.schema import LEAST_SIDE, MOST_SIDE, Camera, Input, Output, Understood
from springtide.engines.video.wording import Effect, Grade, Move, Reading, understand
from springtide.engines.weights import require

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from springtide.engines.matting.networks import Network
    from springtide.engines.provenance import Origin
    from springtide.engines.video.camera import Pose
    from springtide.engines.video.layers import Layer, View
    from springtide.engines.video.weather import Air

USUAL_SIZE = (832, 480)  # what Wan and its kin call 480p; the area of a film whose size is not given
LEAST_SHAPE, MOST_SHAPE = 9 / 21, 21 / 9  # width by height of a film that takes its shape from the picture
SCENE_MOTION = 1.7  # a painted scene goes on beyond the frame, so the camera may go farther than on a picture
NAME, TITLE = "parallax-preview", "Video preview"
ISNET_NAME = "isnet-general-use-fp16"
ROUNDING = 1.004  # enlargement that keeps the picture's border out of the frame's last pixel
POSTER_QUALITY = 88

# Seconds of two cores of the reference machine (docs/engines/video.md).
MATTE_S, PART_S_PER_MEGAPIXEL, FRAME_S_PER_MEGAPIXEL, EFFECT_S_PER_MEGAPIXEL = 2.7, 2.0, 0.14, 0.03


class Settings(OnnxSettings):
    """The model's table in springtide.toml."""

    signed: bool = Field(
        default=False,
        description="Whether the mark of origin is signed (C2PA); no two files are then alike to the byte.",
    )


class ParallaxPreview(Engine[Input, Output]):
    """Moves a camera through a picture or a painted scene."""

    title = TITLE
    description = "A camera move with real parallax through a picture, or through a scene painted from words."
    version = "parallax-preview-1"
    license = MODEL.license
    commercial_use = True
    stages = ("decode", "matte", "layers", "render", "finish")
    preload = (
        "numpy",
        "onnxruntime",
        "PIL.Image",
        "springtide.media.images",
        "springtide.media.film",
        "springtide.engines.video.parting",
        "springtide.engines.video.scenery",
        "springtide.engines.video.weather",
    )
    weights = (MODEL,)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(Settings, settings, engine="video")
        self._network: Network | None = None

    def load(self) -> None:
        from springtide.engines.matting.networks import ISNET, Network

        require(self, self.weights_folder)
        path = self.weights_folder / MODEL.path
        session = open_session(path, threads=self.options.thread_count, providers=self.options.providers)
        self._network = Network(session, ISNET)

    def run(self, inputs: Input, progress: Progress) -> Output:
        import numpy as np

        from springtide.engines.provenance import tags

        began = time.monotonic()
        progress(0.0, "decode")
        reading = _with_camera(understand(inputs.prompt), inputs.camera)
        picture = self._opened(inputs)
        width, height = film_size(inputs, None if picture is None else picture.size)
        rng = np.random.default_rng([inputs.seed, *hashlib.sha256(inputs.prompt.encode()).digest()[:8]])
        layers = self._layers(picture, reading, (width, height), rng, progress)
        shot = _Shot(layers, reading, inputs, (width, height), rng, is_scene=picture is None)
        del picture, layers
        source = None if inputs.image is None else inputs.image.path
        made = self._made(began, source)
        video, poster = _film(shot, tags(made=made, title=TITLE, origin=_origin(source, made)), progress)
        progress(0.99, "finish")
        _mark((video, poster), source, made, is_signed=self.options.signed)
        return Output(
            video=OutputFile(path=video, media_type="video/mp4"),
            poster=OutputFile(path=poster, media_type="image/jpeg"),
            width=width,
            height=height,
            frames=shot.frames,
            fps=inputs.fps,
            duration_s=round(shot.frames / inputs.fps, 3),
            seed=inputs.seed,
            camera=[str(move) for move in reading.moves or (Move.ORBIT,)],
            has_subject=inputs.image is not None and shot.has_subject,
            understood=[Understood(words=words, meaning=meaning) for words, meaning in reading.understood],
            set_aside=[Understood(words=words, meaning=meaning) for words, meaning in reading.set_aside],
            **self._made(began, source).model_dump(),
        )

    def estimate(self, inputs: Input) -> float:
        image = inputs.image
        width, height = film_size(inputs, None if image is None else (image.width or 1024, image.height or 1024))
        megapixels, frames = width * height / 1e6, frame_count(inputs)
        one = FRAME_S_PER_MEGAPIXEL + EFFECT_S_PER_MEGAPIXEL * len(understand(inputs.prompt).effects)
        return PART_S_PER_MEGAPIXEL * megapixels + frames * megapixels * one + (0.0 if image is None else MATTE_S)

    def features(self, inputs: Input) -> dict[str, float]:
        image = inputs.image
        width, height = film_size(inputs, None if image is None else (image.width or 1024, image.height or 1024))
        effects = len(understand(inputs.prompt).effects)
        return {"pixels": float(width * height), "frames": float(frame_count(inputs)), "effects": float(effects)}

    def _made(self, began_s: float, source: Path | None) -> Made:
        return Made(**self.made(began_s, engine=NAME, model="none" if source is None else ISNET_NAME))

    def _opened(self, inputs: Input) -> Image.Image | None:
        from springtide.media.images import open_rgb

        return None if inputs.image is None else open_rgb(inputs.image.path)

    def _layers(
        self,
        picture: Image.Image | None,
        reading: Reading,
        size: tuple[int, int],
        rng: np.random.Generator,
        progress: Progress,
    ) -> list[Layer]:
        from springtide.engines.video.parting import part
        from springtide.engines.video.scenery import scene

        if picture is None:
            progress(0.02, "layers")
            layers = scene(reading, *size, rng)
            return [_lit(layer, {Grade.MONO}) for layer in layers] if Grade.MONO in reading.grades else layers
        progress(0.02, "matte")
        mask = self._mask(picture)
        progress(0.25, "layers")
        is_snowy = Effect.SNOW in reading.effects
        return [_lit(layer, reading.grades, is_snowy=is_snowy) for layer in part(picture, mask, *size)]

    def _mask(self, picture: Image.Image) -> Image.Image:
        """How much each pixel is subject: 8-bit grey, of the network's size."""
        import numpy as np
        from PIL import Image

        if self._network is None:
            raise RuntimeError("load() comes before run()")
        return Image.fromarray(np.rint(self._network(picture) * 255.0).astype(np.uint8))


class _Shot:
    """One film as it will be: each frame can be drawn by itself."""

    def __init__(
        self,
        layers: list[Layer],
        reading: Reading,
        inputs: Input,
        size: tuple[int, int],
        rng: np.random.Generator,
        *,
        is_scene: bool,
    ) -> None:
        from springtide.engines.video.camera import pose_at
        from springtide.engines.video.layers import View
        from springtide.engines.video.weather import Air, vignette

        self.size = size
        self.fps = inputs.fps
        self.crf = inputs.crf
        self.frames = frame_count(inputs)
        self._layers = layers
        phases = tuple(rng.random(6).tolist())
        motion = inputs.motion * (SCENE_MOTION if is_scene else 1.0)
        aim = (0.0, 0.0) if is_scene else layers[-1].aim
        focus = 1.0 if is_scene or len(layers) == 1 else layers[-1].mean_disparity
        self._poses: list[Pose] = [
            pose_at(
                reading.moves,
                number / (self.frames - 1),
                seconds=inputs.seconds,
                motion=motion,
                phases=phases,
                aim=aim,
                focus=focus,
            )
            for number in range(self.frames)
        ]
        self._air: Air = Air(reading.effects, size, rng, is_night=Grade.NIGHT in reading.grades)
        self._vignette = vignette(size)
        self._view: View = View(*size, zoom=_zoom(layers, self._poses, size))

    @property
    def has_subject(self) -> bool:
        return len(self._layers) > 1

    def draw(self, number: int) -> Image.Image:
        """The frame `number`, RGB."""
        from PIL import Image, ImageChops

        pose, time_s = self._poses[number], number / self.fps
        frame = Image.new("RGB", self.size)
        behind, front = (self._layers[:-1], self._layers[-1:]) if self.has_subject else (self._layers, [])
        for layer in behind:
            self._view.draw(layer, frame, pose)
        self._air.lay(frame, time_s, pose, before_subject=False)
        for layer in front:
            self._view.draw(layer, frame, pose)
        self._air.lay(frame, time_s, pose, before_subject=True)
        return ImageChops.multiply(frame, self._vignette)


def film_size(inputs: Input, picture: tuple[int, int] | None) -> tuple[int, int]:
    """Width and height of the film: as asked, what is open from the picture's shape; even, because H.264 shares colour
    between neighbours."""
    shape = USUAL_SIZE[0] / USUAL_SIZE[1] if picture is None else picture[0] / picture[1]
    shape = min(max(shape, LEAST_SHAPE), MOST_SHAPE)
    width, height = inputs.width, inputs.height
    if width is None and height is None:
        area = USUAL_SIZE[0] * USUAL_SIZE[1]
        return _even(math.sqrt(area * shape)), _even(math.sqrt(area / shape))
    return _even(width or (height or 0) * shape), _even(height or (width or 0) / shape)


def frame_count(inputs: Input) -> int:
    """At least two, so that there is a move."""
    return max(2, round(inputs.seconds * inputs.fps))


def _even(length: float) -> int:
    return min(max(round(length / 2) * 2, LEAST_SIDE), MOST_SIDE)


def _with_camera(reading: Reading, camera: Camera) -> Reading:
    """The reading with the move that was asked for by name instead of the prompt's."""
    if camera is Camera.AUTO:
        return reading
    said = tuple(item for item in reading.understood if item[1].startswith("camera: "))
    kept = tuple(item for item in reading.understood if item not in said)
    return msgspec.structs.replace(
        reading, moves=(Move(camera.value),), understood=kept, set_aside=said + reading.set_aside
    )


def _zoom(layers: list[Layer], poses: list[Pose], size: tuple[int, int]) -> float:
    from springtide.engines.video.camera import needed_zoom

    ranges = [layer.range for layer in layers]
    nearest, farthest = max(most for _, most in ranges), min(least for least, _ in ranges)
    half_height = size[1] / size[0] / 2
    reach = layers[-1].reach  # the sky of a scene ends behind its horizon
    return ROUNDING * needed_zoom(poses, reach, half_height=half_height, nearest=nearest, farthest=farthest)


def _lit(layer: Layer, grades: Collection[Grade], *, is_snowy: bool = False) -> Layer:
    from springtide.engines.video.weather import graded

    return msgspec.structs.replace(layer, colour=graded(layer.colour, grades, is_snowy=is_snowy))


def _film(shot: _Shot, metadata: Mapping[str, str], progress: Progress) -> tuple[Path, Path]:
    """Draw every frame and write it; the film and its poster."""
    import numpy as np

    from springtide.media.film import FilmWriter

    video, poster = progress.folder / "preview.mp4", progress.folder / "poster.jpg"
    width, height = shot.size
    with FilmWriter(
        video,
        width=width,
        height=height,
        fps=shot.fps,
        crf=shot.crf,
        preset="fast",
        deterministic=True,
        metadata=metadata,
    ) as film:
        for number in range(shot.frames):
            progress(0.3 + 0.68 * number / shot.frames, "render")
            frame = shot.draw(number)
            if number == shot.frames // 2:
                frame.save(poster, "JPEG", quality=POSTER_QUALITY)
            film.write(np.asarray(frame))
    return video, poster


def _origin(source: Path | None, made: Made) -> Origin:
    """What the film says of how it came to be: a picture that a model made stays so when a camera moves over it."""
    from springtide.engines.provenance import Kind, Origin, origin_of

    found = None if source is None else origin_of(source)
    return found or Origin(Kind.ALGORITHMIC, made.model_dump(exclude={"seconds"}))


def _mark(files: tuple[Path, Path], source: Path | None, made: Made, *, is_signed: bool) -> None:
    """Sign the files where that is wanted, or where the picture they were made from is marked."""
    from springtide.engines.provenance import Kind, carry, mark

    for path in files:
        if (source is None or carry(source, path, made=made, title=TITLE) is None) and is_signed:
            mark(path, made=made, kind=Kind.ALGORITHMIC, title=TITLE)

"""Pictures and films two or four times as large, by Real-ESRGAN on the processor or a GPU.

`best` draws texture that was not there: it suits photographs, and costs 0.3 CPU seconds for a thousand pixels; `fast`
costs a twentieth and suits drawings and films. Transparency, grey, sound and length stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from springtide.engines.onnx import OnnxSettings
from springtide.engines.protocol import Engine, OutputFile, Progress
from springtide.engines.settings import read_settings
from springtide.engines.upscaling.models import ANIMEVIDEO, LICENSE, X4PLUS
from springtide.engines.upscaling.schema import Format, Input, Output, Quality
from springtide.engines.weights import require

if TYPE_CHECKING:
    from springtide.engines.upscaling.films import Enlarged
    from springtide.engines.upscaling.networks import Upscaler

NETWORKS = {Quality.BEST: X4PLUS, Quality.FAST: ANIMEVIDEO}
NAMES = {Quality.BEST: "real-esrgan-x4plus", Quality.FAST: "real-esrgan-animevideov3"}

# Seconds on two cores of the reference machine (docs/engines/upscale.md): by thousand pixels given, then by megapixel
# written.
PER_KILOPIXEL_S = {Quality.BEST: 0.22, Quality.FAST: 0.011}
PER_MEGAPIXEL_WRITTEN_S = 0.1
USUAL_FPS = 25.0


class Upscale(Engine[Input, Output]):
    """Makes a picture or a video two or four times as large."""

    title = "Upscale"
    description = "Makes a picture or a video two or four times as wide and as high, with drawn detail."
    version = "1"
    license = LICENSE
    commercial_use = True
    generative = True
    stages = ("decode", "enlarge", "encode")
    preload = ("numpy", "onnxruntime", "PIL.Image", "springtide.media.images")
    example: ClassVar[Mapping[str, Any]] = {"image": "portrait.jpg", "quality": "fast"}
    weights = (X4PLUS, ANIMEVIDEO)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(OnnxSettings, settings, engine="upscale")
        self._networks: dict[Quality, Upscaler] = {}

    def load(self) -> None:
        from springtide.engines.upscaling.networks import open_upscaler

        require(type(self), self.weights_folder)
        threads, providers = self.options.thread_count, self.options.providers
        for quality, weights in NETWORKS.items():
            self._networks[quality] = open_upscaler(weights, self.weights_folder, threads=threads, providers=providers)

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.engines.upscaling.films import enlarge_film
        from springtide.engines.upscaling.marks import hand_on

        began = time.monotonic()
        if not self._networks:
            raise RuntimeError("load() comes before run()")
        quality = inputs.chosen_quality
        network = self._networks[quality]
        made = _picture(inputs, network, progress) if inputs.video is None else enlarge_film(inputs, network, progress)
        output = Output(
            result=OutputFile(path=made.path, media_type=made.media_type),
            width=made.width,
            height=made.height,
            frames=made.frames,
            **self.made(began, engine="upscale", model=NAMES[quality]),
        )
        file = inputs.image or inputs.video
        assert file is not None
        hand_on(file.path, made.path, made=output, title=f"Enlarged {inputs.scale} times", is_drawn=True)
        return output

    def estimate(self, inputs: Input) -> float:
        file = inputs.image or inputs.video
        assert file is not None
        pixels = (file.width or 1024) * (file.height or 1024)
        once = pixels / 1e3 * PER_KILOPIXEL_S[inputs.chosen_quality]
        once += pixels * inputs.scale**2 / 1e6 * PER_MEGAPIXEL_WRITTEN_S
        return once if inputs.video is None else once * max(1.0, (file.duration_s or 1.0) * USUAL_FPS)

    def features(self, inputs: Input) -> dict[str, float]:
        file = inputs.image or inputs.video
        assert file is not None
        pixels = (file.width or 1024) * (file.height or 1024)
        frames = 1.0 if inputs.video is None else max(1.0, (file.duration_s or 1.0) * USUAL_FPS)
        return {"pixels": float(pixels), "pixels_written": float(pixels * inputs.scale**2), "frames": frames}


def _picture(inputs: Input, network: Upscaler, progress: Progress) -> Enlarged:
    from springtide.engines.upscaling.films import Enlarged
    from springtide.engines.upscaling.pictures import PictureFormat, check_side, load, save

    assert inputs.image is not None
    format_ = PictureFormat(inputs.format or Format.PNG)
    progress(0.0, "decode")
    parts = load(inputs.image.path)
    width, height = parts.width * inputs.scale, parts.height * inputs.scale
    check_side(width, height, format_)
    progress(0.02, "enlarge")
    rgb = network.enlarge(parts.rgb, scale=inputs.scale, on_part=lambda part: progress(0.02 + 0.92 * part, "enlarge"))
    progress(0.95, "encode")
    path = progress.folder / f"upscaled.{format_}"
    save(rgb, parts, path, format_)
    return Enlarged(path, format_.media_type, width, height, None)

"""Matting with ISNet (dichotomous image segmentation), on the processor.

Gives soft alpha for whatever stands out in a picture: people, animals, things. The network sees 1024 × 1024 pixels
whatever the picture's size; the mask is scaled back, so memory grows only with the picture itself. Nothing is made up:
every colour in the cut-out is the input's own. Pixels that are no part of the subject leave no trace in the file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.engines.matting.schema import Format, Input, Output
from springtide.engines.onnx import OnnxSettings, open_session
from springtide.engines.protocol import Engine, InvalidInput, OutputFile, Progress, Weights
from springtide.engines.settings import read_settings
from springtide.engines.weights import require

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray
    from PIL import Image

SIDE = 1024  # pixels: the network's input
MODEL = Weights(
    path="isnet/isnet_fp16_1024.onnx",
    sha256="b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
    bytes=88_188_479,
    recipe="isnet",
    license="Apache-2.0",
)
WEBP_MAX_SIDE = 16_383  # the format's own limit, pixels

# Seconds on two cores of the reference machine (docs/engines/matting.md): the network, then by megapixel in and out.
NETWORK_S = 2.7
PER_MEGAPIXEL_S = {Format.PNG: 0.11, Format.WEBP: 0.25}


class IsnetMatting(Engine[Input, Output]):
    """Cuts the subject out of a picture."""

    title = "Matting"
    description = "Cuts the subject out of a picture: the picture with soft transparency, and the mask."
    version = "isnet-1"
    license = MODEL.license
    commercial_use = True
    stages = ("decode", "matte", "encode")
    preload = ("numpy", "onnxruntime", "PIL.Image", "springtide.media.images")
    weights = (MODEL,)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(OnnxSettings, settings, engine="matting")
        self._session: onnxruntime.InferenceSession | None = None

    def load(self) -> None:
        # No warm-up run: the first one is measured to be no slower than the next, it would only delay the first result.
        require(type(self), self.weights_folder)
        self._session = open_session(
            self.weights_folder / MODEL.path, threads=self.options.thread_count, providers=self.options.providers
        )

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.engines.matting.pictures import cut_out, save
        from springtide.media.images import open_rgba

        began = time.monotonic()
        progress(0.0, "decode")
        picture = open_rgba(inputs.image.path)
        if inputs.format is Format.WEBP and max(picture.size) > WEBP_MAX_SIDE:
            message = (
                f"WebP holds at most {WEBP_MAX_SIDE} pixels a side, the picture is {picture.width}x{picture.height}"
            )
            raise InvalidInput(message, errors=[{"loc": "format", "message": message}])
        progress(0.1, "matte")
        mask = self._matte(picture)
        progress(0.8, "encode")
        cutout, mask = cut_out(picture, mask, background=inputs.background, crop=inputs.crop)
        del picture
        cutout_path = save(cutout, progress.folder / "cutout", inputs.format)
        progress(0.95, "encode")
        mask_path = save(mask, progress.folder / "mask", Format.PNG)
        return Output(
            cutout=OutputFile(path=cutout_path, media_type=f"image/{inputs.format}"),
            mask=OutputFile(path=mask_path, media_type="image/png"),
            width=mask.width,
            height=mask.height,
            engine=self.version,
            license=self.license,
            generative=self.generative,
            seconds=round(time.monotonic() - began, 3),
        )

    def estimate(self, inputs: Input) -> float:
        megapixels = (inputs.image.width or SIDE) * (inputs.image.height or SIDE) / 1e6
        return NETWORK_S + megapixels * PER_MEGAPIXEL_S[inputs.format]

    def _matte(self, picture: Image.Image) -> Image.Image:
        """The subject's mask, 1024 × 1024, 8-bit grey; what is transparent in the picture is no subject."""
        import numpy as np
        from PIL import Image

        small = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
        on_white = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
        pixels = (np.asarray(on_white, np.float32) - 128.0) / 256.0
        alpha = self._infer(np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis]))
        return Image.fromarray(np.rint(alpha.clip(0.0, 1.0) * 255.0).astype(np.uint8))

    def _infer(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32[1, 3, 1024, 1024], RGB scaled to (x - 128) / 256, to float32[1024, 1024] in 0..1."""
        if self._session is None:
            raise RuntimeError("load() comes before run()")
        name = self._session.get_outputs()[0].name  # of twelve: the others are side outputs for training
        result: Any = self._session.run([name], {self._session.get_inputs()[0].name: pixels})
        return result[0][0, 0]

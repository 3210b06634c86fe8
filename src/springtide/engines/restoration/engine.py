"""Faces made whole and sharp again: old photographs, small faces of a group, what compression has eaten.

By itself the network is Real-ESRGAN on a small crop of the aligned face: general super-resolution trained against an
adversary, not a prior of faces, so it sharpens what is there and seldom invents. Networks that do know faces (GPEN,
GFPGAN, CodeFormer) load by settings alone. A picture without a face is a result (`faces` is 0), not an error.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.engines.faces.models import FACE_WEIGHTS
from springtide.engines.protocol import Engine, OutputFile, Progress
from springtide.engines.restoration.schema import Action, Background, FaceReport, Input, Output
from springtide.engines.restoration.settings import RestorationSettings
from springtide.engines.settings import read_settings
from springtide.engines.upscaling.models import ANIMEVIDEO, LICENSE, X4PLUS
from springtide.engines.weights import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from springtide.engines.restoration.restorers import Restorer
    from springtide.engines.restoration.stills import Eyes
    from springtide.engines.upscaling.networks import Upscaler
    from springtide.engines.upscaling.pictures import Parts

NETWORK = "real-esrgan-x4plus"
BACKGROUNDS = {Background.FAST: ANIMEVIDEO, Background.BEST: X4PLUS}

# Seconds on two cores of the reference machine (docs/engines/restore.md).
FACE_S = 3.0
BACKGROUND_KILOPIXEL_S = {Background.KEEP: 0.0, Background.FAST: 0.011, Background.BEST: 0.22}
PER_MEGAPIXEL_S, PER_MEGAPIXEL_WRITTEN_S = 0.06, 0.1
USUAL_FACES = 1.3  # the gateway cannot know: most pictures that come have one


class FaceRestoration(Engine[Input, Output]):
    """Restores the faces of a picture."""

    title = "Face restoration"
    description = "Makes the faces of a picture whole and sharp again: old photographs, small or compressed faces."
    version = "1"
    license = LICENSE
    commercial_use = True
    generative = True
    stages = ("decode", "find", "background", "restore", "encode")
    preload = ("numpy", "onnxruntime", "PIL.Image", "springtide.media.images")
    weights = (*FACE_WEIGHTS, X4PLUS, ANIMEVIDEO)

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(RestorationSettings, settings, engine="restore")
        self._model = NETWORK
        if self.options.file is not None:
            self.license, self.commercial_use = self.options.license, self.options.commercial_use
            self.generative = self.options.generative
            self._model = self.options.name or self.options.file.stem
        self._eyes: Eyes | None = None
        self._restorer: Restorer | None = None
        self._upscalers: dict[Background, Upscaler] = {}

    def load(self) -> None:
        from springtide.engines.faces.detect import FaceDetector
        from springtide.engines.faces.mesh import FaceMesh
        from springtide.engines.restoration.restorers import FaceNetwork, SuperResolution
        from springtide.engines.restoration.stills import Eyes

        require(self, self.weights_folder)
        options, folder = self.options, self.weights_folder
        self._eyes = Eyes(FaceDetector(folder), FaceMesh(folder))
        if options.file is None:
            self._restorer = SuperResolution(self._upscaler(Background.BEST), side=options.face_side)
        else:
            path = folder / options.file.expanduser()
            self._restorer = FaceNetwork(path, options, threads=options.thread_count, providers=options.providers)

    def run(self, inputs: Input, progress: Progress) -> Output:
        from springtide.engines.label import draw_label
        from springtide.engines.restoration.stills import Retoucher
        from springtide.engines.upscaling.marks import hand_on
        from springtide.engines.upscaling.pictures import PictureFormat, check_side, load, save

        began = time.monotonic()
        if self._eyes is None or self._restorer is None:
            raise RuntimeError("load() comes before run()")
        progress(0.0, "decode")
        parts, format_ = load(inputs.image.path), PictureFormat(inputs.format)
        width, height = parts.width * inputs.scale, parts.height * inputs.scale
        check_side(width, height, format_)
        progress(0.05, "find")
        faces = self._eyes.find(parts)
        progress(0.1, "background")
        canvas, done = self._background(parts, inputs, progress)
        retoucher = Retoucher(self._restorer, self._eyes.mesh)

        def on_face(index: int) -> None:
            progress(done + (0.95 - done) * index / len(faces), "restore")

        details = retoucher.retouch(canvas, parts, faces, inputs, on_face)
        restored = sum(1 for one in details if one.action is not Action.LEFT)
        progress(0.95, "encode")
        if inputs.label and restored:
            canvas = draw_label(canvas)
        path = progress.folder / f"restored.{format_}"
        save(canvas, parts, path, format_)
        output = Output(
            picture=OutputFile(path=path, media_type=format_.media_type),
            width=width,
            height=height,
            faces=len(faces),
            restored=restored,
            details=details,
            message=_told(details),
            **self.made(began, engine="restore", model=self._model),
        )
        is_drawn = restored > 0 or inputs.background is not Background.KEEP
        hand_on(inputs.image.path, path, made=output, title="Restored picture", is_drawn=is_drawn)
        return output

    def estimate(self, inputs: Input) -> float:
        pixels = (inputs.image.width or 1024) * (inputs.image.height or 1024)
        around = pixels / 1e3 * BACKGROUND_KILOPIXEL_S[inputs.background]
        coding = pixels / 1e6 * (PER_MEGAPIXEL_S + inputs.scale**2 * PER_MEGAPIXEL_WRITTEN_S)
        return USUAL_FACES * FACE_S + around + coding

    def features(self, inputs: Input) -> dict[str, float]:
        pixels = (inputs.image.width or 1024) * (inputs.image.height or 1024)
        return {"pixels": float(pixels), "pixels_written": float(pixels * inputs.scale**2)}

    def _background(self, parts: Parts, inputs: Input, progress: Progress) -> tuple[NDArray[np.uint8], float]:
        """The picture at its new size, and what fraction of the job is done with it."""
        from springtide.engines.upscaling.pictures import resized

        if inputs.background is Background.KEEP:
            return resized(parts.rgb, inputs.scale), 0.15
        most = 0.7  # of the time, as a rule
        drawn = self._upscaler(inputs.background).enlarge(
            parts.rgb, scale=inputs.scale, on_part=lambda part: progress(0.1 + (most - 0.1) * part, "background")
        )
        return drawn, most

    def _upscaler(self, kind: Background) -> Upscaler:
        """Loaded when it is first needed: most jobs keep their background."""
        from springtide.engines.upscaling.networks import open_upscaler

        if kind not in self._upscalers:
            self._upscalers[kind] = open_upscaler(
                BACKGROUNDS[kind],
                self.weights_folder,
                threads=self.options.thread_count,
                providers=self.options.providers,
            )
        return self._upscalers[kind]


def _told(details: list[FaceReport]) -> str:
    """What was done, in a sentence."""
    if not details:
        return "No face was found: nothing but the size and the background was changed."
    counts = {action: sum(1 for one in details if one.action is action) for action in Action}
    told = [f"{count} {action}" for action, count in counts.items() if count]
    found = "1 face was" if len(details) == 1 else f"{len(details)} faces were"
    return f"{found} found: {', '.join(told)}."

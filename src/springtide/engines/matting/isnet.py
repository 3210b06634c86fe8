"""Matting with ISNet (dichotomous image segmentation), or another ONNX network of its kind by settings alone.

ISNet gives soft alpha for whatever stands out in a picture: people, animals, things. It sees 1024 × 1024 pixels
whatever the picture's size; the mask is scaled back, so memory grows only with the picture itself. `quality = "fast"`
takes a network a hundred times as quick that knows people only. Nothing is made up: opaque pixels keep their colours,
half-transparent ones lose the background's, and pixels that are no part of the subject leave no trace in the file.

Pictures that wait run side by side in lanes, one of which decodes and encodes while the other's network has the
processor; one that is alone has all threads for itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from springtide.engines.matting.costs import estimated_s, features_of
from springtide.engines.matting.schema import Input, Output, Quality
from springtide.engines.matting.settings import MattingSettings
from springtide.engines.onnx import open_session
from springtide.engines.protocol import Engine, OutputFile, Progress, Weights
from springtide.engines.settings import read_settings
from springtide.engines.weights import require

if TYPE_CHECKING:
    from springtide.engines.matting.networks import Network

MODEL = Weights(
    path="isnet/isnet_fp16_1024.onnx",
    sha256="b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
    bytes=88_188_479,
    recipe="isnet",
    license="Apache-2.0",
)
FAST_MODEL = Weights(
    path="selfie/selfie_segmentation.onnx",
    sha256="5db84282c3cfb6e4ae82ae12ed55c75a94c8b04aff580791e180cc825f9aa81d",
    bytes=442_683,
    recipe="selfie",
    license="Apache-2.0",
)
LANES = 2  # pictures side by side; each costs another gigabyte at the peak


class IsnetMatting(Engine[Input, Output]):
    """Cuts the subject out of a picture or a video."""

    title = "Matting"
    description = "Cuts the subject out of a picture or video: the same with soft transparency, and the mask."
    version = "2"
    license = MODEL.license
    commercial_use = True
    stages = ("decode", "matte", "encode")
    preload = ("numpy", "onnxruntime", "PIL.Image", "springtide.media.images", "springtide.engines.matting.stills")
    weights = (MODEL, FAST_MODEL)
    example: ClassVar[Mapping[str, Any]] = {"image": "portrait.jpg"}
    lanes = LANES

    def __init__(self, settings: Mapping[str, Any], weights_folder: Path) -> None:
        super().__init__(settings, weights_folder)
        self.options = read_settings(MattingSettings, settings, engine="matting")
        if self.options.file is not None:
            self.license, self.commercial_use = self.options.license, self.options.commercial_use
            self.weights = (FAST_MODEL,)
        self.lanes = min(LANES, self.options.thread_count)
        self._networks: dict[Quality, Network] = {}
        self._beside: Network | None = None
        self._counting = threading.Lock()
        self._inside = 0  # runs that go on now
        self._turns = threading.BoundedSemaphore(self.lanes)  # a video has as many frames in flight, beside pictures

    def load(self) -> None:
        require(self, self.weights_folder)
        best = self._networks[Quality.BEST] = self._open_best(self.options.thread_count)
        self._networks[Quality.FAST] = self._open_fast()
        self._networks[Quality.FAST].warm_up()
        if self.options.file is not None or best.is_on_gpu:
            # Proves that an unknown file gives masks, and lets a GPU choose its kernels. ISNet on the processor is not
            # warmed up: its first run is no slower than the next (`springtide models check`), and a job may wait.
            best.warm_up()

    def run(self, inputs: Input, progress: Progress) -> Output:
        with self._counting:
            self._inside += 1
            is_shared = self._inside > 1 or inputs.video is not None  # frames of a video run side by side, too
        try:
            return self._cut(inputs, progress, self._network(inputs.quality, is_shared=is_shared))
        finally:
            with self._counting:
                self._inside -= 1

    def estimate(self, inputs: Input) -> float:
        return estimated_s(inputs)

    def features(self, inputs: Input) -> dict[str, float]:
        return features_of(inputs)

    def _cut(self, inputs: Input, progress: Progress, network: Network) -> Output:
        from springtide.engines.matting.clips import cut_video
        from springtide.engines.matting.stills import cut_picture

        began = time.monotonic()
        if inputs.video is not None:
            cut = cut_video(inputs, network, progress, lanes=self.lanes)
        else:
            cut = cut_picture(inputs, network, progress)
        made = self.made(began, engine="matting", model=network.spec.name)
        made["license"] = network.spec.license
        return Output(
            cutout=OutputFile(path=cut.cutout, media_type=inputs.chosen_format.media_type),
            mask=OutputFile(path=cut.mask, media_type="image/png" if cut.frames is None else "video/mp4"),
            width=cut.width,
            height=cut.height,
            frames=cut.frames,
            **made,
        )

    def _network(self, quality: Quality, *, is_shared: bool) -> Network:
        """is_shared: for runs side by side, on one lane's share of the threads."""
        if not self._networks:
            raise RuntimeError("load() comes before run()")
        found = self._networks[quality]
        if quality is Quality.FAST or not is_shared or self.lanes == 1 or found.is_on_gpu:
            return found
        with self._counting:
            if self._beside is None:
                self._beside = self._open_best(self.options.thread_count // self.lanes)
            return self._beside

    def _open_best(self, threads: int) -> Network:
        from springtide.engines.matting.networks import ISNET, Network, NetworkSpec

        options = self.options
        if options.file is None:
            path, spec = self.weights_folder / MODEL.path, ISNET
        else:
            path = self.weights_folder / options.file  # an absolute path stays as it is
            spec = NetworkSpec(
                name=options.name or path.stem,
                license=options.license,
                mean=options.mean,
                std=options.std,
                input=options.input,
                output=options.output,
                size=options.sides,
                sigmoid=None if options.sigmoid == "auto" else options.sigmoid,
            )
        return Network(open_session(path, threads=threads, providers=options.providers), spec, turns=self._turns)

    def _open_fast(self) -> Network:
        from springtide.engines.matting.networks import SELFIE, Network

        # Three milliseconds of one thread: no more would help, and a GPU would be reached later than that.
        return Network(open_session(self.weights_folder / FAST_MODEL.path, threads=1, providers="cpu"), SELFIE)

"""What a run is thought to cost, fitted on runs of two cores of the reference machine (docs/engines/matting.md)."""

from __future__ import annotations

from springtide.engines.matting.schema import Format, Input, Quality

USUAL_PIXELS = 1_000_000  # where probing did not say
USUAL_S, USUAL_FPS = 10.0, 30.0  # of a video; its rate is not known before it is opened

NETWORK_S = {Quality.BEST: 2.7, Quality.FAST: 0.02}
PER_MEGAPIXEL_S = {Format.PNG: 0.11, Format.WEBP: 0.25, Format.WEBM: 0.25, Format.MOV: 0.2, Format.MP4: 0.2}


def estimated_s(inputs: Input) -> float:
    """Seconds: the network once a frame, and decoding and encoding by pixels."""
    file = inputs.video or inputs.image
    pixels = (file.width or 0) * (file.height or 0) if file is not None else 0
    frames = 1.0 if inputs.video is None else (inputs.video.duration_s or USUAL_S) * USUAL_FPS
    megapixels = (pixels or USUAL_PIXELS) / 1e6
    return frames * (NETWORK_S[inputs.quality] + megapixels * PER_MEGAPIXEL_S[inputs.chosen_format])

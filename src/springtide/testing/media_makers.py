"""Files that people send by mistake, by accident or on purpose, and good ones to compare with. Made, not stored.

Each maker writes one file into `folder` and returns its path. `BAD_PICTURES` and `BAD_SOUNDS` name those that must be
refused, with the code of the refusal, for tests that go through all of them; `ODD_PICTURES` and `ODD_SOUNDS` those that
must work all the same. The limits they assume: still pictures of at most 50 megapixels; audio or video with sound.
"""

from __future__ import annotations

import array
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from springtide.testing.media import grey_alpha, picture, tone, video, wav

Maker = Callable[[Path], Path]


# --- pictures that are refused --------------------------------------------------------------------------------------


def zero_bytes(folder: Path) -> Path:
    return _written(folder / "zero.png", b"")


def text_named_jpg(folder: Path) -> Path:
    return _written(folder / "notes.jpg", "Milk, eggs, 面包.\n".encode() * 20)


def truncated_png(folder: Path) -> Path:
    return _cut(folder / "cut.png", _noise_picture((64, 48)), "PNG")


def png_without_end(folder: Path) -> Path:
    """Every row is there, the end mark is not."""
    path = folder / "noend.png"
    picture().save(path)
    return _written(path, path.read_bytes()[:-12])


def corrupt_png(folder: Path) -> Path:
    """One bit in the picture data is wrong."""
    path = folder / "corrupt.png"
    _noise_picture((64, 48)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    return _written(path, bytes(data))


def short_png(folder: Path) -> Path:
    """Checksums and end mark are right, half of the rows are missing."""
    rows = zlib.compress(b"\0" * (65 * 24))
    return _written(folder / "short.png", _png(64, 48, bits=8, data=rows))


def truncated_jpeg(folder: Path) -> Path:
    return _cut(folder / "cut.jpg", _noise_picture((160, 120)), "JPEG")


def truncated_webp(folder: Path) -> Path:
    return _cut(folder / "cut.webp", _noise_picture((64, 48)), "WEBP")


def animated_gif(folder: Path) -> Path:
    return _animated(folder / "wave.gif")


def animated_png(folder: Path) -> Path:
    return _animated(folder / "wave.png")


def animated_webp(folder: Path) -> Path:
    return _animated(folder / "wave.webp")


def bomb_png(folder: Path) -> Path:
    """900 megapixels in about 100 kB: 2.7 GB once decoded to RGB. Whole and correct in every chunk."""
    side = 30_000
    inflate = zlib.compressobj(9)
    row = b"\0" * (1 + side // 8)
    data = b"".join(inflate.compress(row * 100) for _ in range(side // 100)) + inflate.flush()
    return _written(folder / "bomb.png", _png(side, side, bits=1, data=data))


def huge_header_png(folder: Path) -> Path:
    """Two thousand million pixels a side, in 70 bytes."""
    return _written(folder / "huge.png", _png(2_000_000_000, 2_000_000_000, bits=8, data=zlib.compress(b"\0")))


def huge_header_webp(folder: Path) -> Path:
    """A WebP that announces 16,384 × 16,384 pixels and holds none."""
    body = b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + (16_383).to_bytes(3, "little") * 2
    return _written(folder / "huge.webp", b"RIFF" + struct.pack("<I", len(body)) + body)


def svg(folder: Path) -> Path:
    text = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>\n'
    return _written(folder / "drawing.png", text)


def pdf(folder: Path) -> Path:
    return _written(folder / "scan.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n%%EOF\n")


def heic(folder: Path) -> Path:
    """As a phone names it; only the header is real."""
    box = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"heic", 0, b"mif1", b"heic")
    return _written(folder / "IMG_0001.jpg", box + struct.pack(">I4s", 8, b"mdat"))


def garbage(folder: Path) -> Path:
    return _written(folder / "garbage.bin", b"\x05\xfa" + random.Random(7).randbytes(20_000))  # noqa: S311


# --- pictures that must work ----------------------------------------------------------------------------------------


def cmyk_jpeg(folder: Path) -> Path:
    """As Photoshop saves for print: inverted, with Adobe's marker."""
    return _saved(folder / "cmyk.jpg", picture(mode="CMYK"), quality=95)


def grey_16bit_png(folder: Path) -> Path:
    """A ramp from 0 to 65535 from left to right."""
    image = Image.new("I;16", (256, 4))
    image.frombytes(array.array("H", [257 * x for x in range(256)] * 4).tobytes())
    return _saved(folder / "grey16.png", image)


def palette_png(folder: Path) -> Path:
    """256 colours, one of them (blue) transparent: the right half."""
    image = picture()
    ImageDraw.Draw(image).rectangle((32, 0, 64, 48), fill=(0, 0, 255))
    reduced = image.quantize(256)
    return _saved(folder / "palette.png", reduced, transparency=reduced.getpixel((50, 10)))


def grey_alpha_png(folder: Path) -> Path:
    return _saved(folder / "la.png", grey_alpha())


def rotated_jpeg(folder: Path) -> Path:
    """Stored on its side, 48 × 64, with the EXIF tag that says so: upright it is 64 × 48, the red corner top left."""
    lying = picture().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    return _saved(folder / "rotated.jpg", lying, exif=exif.tobytes(), quality=95)


def large_picture(folder: Path) -> Path:
    """40 megapixels, in a small file."""
    return _saved(folder / "large.jpg", Image.new("RGB", (8000, 5000), (30, 90, 160)), quality=50)


def one_pixel_png(folder: Path) -> Path:
    return _saved(folder / "pixel.png", Image.new("RGB", (1, 1), (1, 2, 3)))


# --- sound and video ------------------------------------------------------------------------------------------------


def silence_wav(folder: Path, seconds: float = 3.0) -> Path:
    return wav(folder / "silence.wav", lambda _t: 0.0, seconds=seconds)


def noise_wav(folder: Path, seconds: float = 3.0) -> Path:
    """Sound without speech."""
    chance = random.Random(1)  # noqa: S311
    return wav(folder / "noise.wav", lambda _t: chance.uniform(-0.3, 0.3), seconds=seconds)


def mono_8k_wav(folder: Path) -> Path:
    """A 440 Hz tone at half of full scale, as a telephone has it."""
    return wav(folder / "phone.wav", tone, rate=8000)


def stereo_48k_wav(folder: Path) -> Path:
    """The same tone left and right, as a camera has it."""
    return wav(folder / "camera.wav", tone, rate=48000, channels=2)


def truncated_wav(folder: Path) -> Path:
    """The header announces 3 s, 1.5 s are there: it plays."""
    path = wav(folder / "cut.wav", tone, seconds=3.0)
    return _written(path, path.read_bytes()[: 44 + 48_000])


def video_with_sound(folder: Path) -> Path:
    return video(folder / "talk.mp4", with_sound=True)


def video_without_sound(folder: Path) -> Path:
    return video(folder / "mute.mp4", with_sound=False)


def truncated_mp4(folder: Path) -> Path:
    """Its index was at the end, and is gone."""
    path = video(folder / "cut.mp4", with_sound=True)
    data = path.read_bytes()
    return _written(path, data[: len(data) // 2])


def broken_wav(folder: Path) -> Path:
    """A RIFF header, then nothing that fits."""
    return _written(folder / "broken.wav", b"RIFF\xff\xff\xff\x7fWAVE" + random.Random(3).randbytes(5000))  # noqa: S311


def text_named_mp3(folder: Path) -> Path:
    return _written(folder / "lyrics.mp3", b"la la la\n" * 100)


BAD_PICTURES: Mapping[str, tuple[Maker, str]] = {
    "zero bytes": (zero_bytes, "empty_file"),
    "a text named .jpg": (text_named_jpg, "wrong_media_type"),
    "a truncated PNG": (truncated_png, "broken_media"),
    "a PNG without its end mark": (png_without_end, "broken_media"),
    "a PNG with a wrong bit": (corrupt_png, "broken_media"),
    "a PNG with half of its rows": (short_png, "broken_media"),
    "a truncated JPEG": (truncated_jpeg, "broken_media"),
    "a truncated WebP": (truncated_webp, "broken_media"),
    "an animated GIF": (animated_gif, "animated"),
    "an animated PNG": (animated_png, "animated"),
    "an animated WebP": (animated_webp, "animated"),
    "a decompression bomb": (bomb_png, "too_many_pixels"),
    "a PNG that announces a huge size": (huge_header_png, "too_many_pixels"),
    "a WebP that announces a huge size": (huge_header_webp, "too_many_pixels"),
    "an SVG": (svg, "wrong_media_type"),
    "a PDF": (pdf, "wrong_media_type"),
    "a HEIC": (heic, "wrong_media_type"),
    "a sound": (silence_wav, "wrong_media_type"),
    "garbage": (garbage, "broken_media"),
}
ODD_PICTURES: Mapping[str, Maker] = {
    "CMYK": cmyk_jpeg,
    "16-bit grey": grey_16bit_png,
    "a palette with transparency": palette_png,
    "grey with alpha": grey_alpha_png,
    "EXIF-rotated": rotated_jpeg,
    "40 megapixels": large_picture,
    "one pixel": one_pixel_png,
}
BAD_SOUNDS: Mapping[str, tuple[Maker, str]] = {
    "zero bytes": (zero_bytes, "empty_file"),
    "a text named .mp3": (text_named_mp3, "wrong_media_type"),
    "a picture": (rotated_jpeg, "wrong_media_type"),
    "a video without an audio track": (video_without_sound, "no_audio_track"),
    "an MP4 without its index": (truncated_mp4, "broken_media"),
    "a WAV of garbage": (broken_wav, "broken_media"),
    "garbage": (garbage, "broken_media"),
}
ODD_SOUNDS: Mapping[str, Maker] = {
    "silence": silence_wav,
    "noise without speech": noise_wav,
    "8 kHz mono": mono_8k_wav,
    "48 kHz stereo": stereo_48k_wav,
    "a cut WAV": truncated_wav,
    "a video with sound": video_with_sound,
}


# --- tools ----------------------------------------------------------------------------------------------------------


def _png(width: int, height: int, *, bits: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _noise_picture(size: tuple[int, int]) -> Image.Image:
    """Noise does not compress: half of the file is half of the rows."""
    return Image.frombytes("RGB", size, random.Random(5).randbytes(size[0] * size[1] * 3))  # noqa: S311


def _animated(path: Path) -> Path:
    frames = [picture((40, 30)).rotate(30 * n) for n in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


def _saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _cut(path: Path, image: Image.Image, format: str) -> Path:
    image.save(path, format=format)
    data = path.read_bytes()
    return _written(path, data[: len(data) // 2])


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path

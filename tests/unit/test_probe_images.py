"""Pictures at the gate, and as engines get them."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from springtide.domain.errors import BadMedia, TooLarge
from springtide.domain.model import FileField
from springtide.media import png
from springtide.media.images import open_rgb, open_rgba, opened
from springtide.media.probe import probe, sniff
from springtide.media.sniffing import PICTURES, canonical, is_accepted
from springtide.testing import media
from springtide.testing import media_makers as makers

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def field(*media_types: str, max_pixels: int | None = 50_000_000, animated: bool = False) -> FileField:
    return FileField(
        name="image",
        media_types=media_types or ("image/*",),
        required=True,
        many=False,
        max_bytes=1 << 30,
        max_pixels=max_pixels,
        animated=animated,
    )


def near(got: object, wanted: tuple[int, ...], by: int = 12) -> bool:
    assert isinstance(got, tuple)
    return all(abs(a - b) <= by for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", makers.BAD_PICTURES)
def test_a_bad_picture_is_refused_with_its_code(name: str, tmp_path: Path) -> None:
    make, code = makers.BAD_PICTURES[name]
    with pytest.raises(BadMedia) as caught:
        probe(make(tmp_path), field())
    assert caught.value.code == code, caught.value.message


@pytest.mark.parametrize("name", makers.ODD_PICTURES)
def test_an_odd_picture_is_fine(name: str, tmp_path: Path) -> None:
    path = makers.ODD_PICTURES[name](tmp_path)
    seen = probe(path, field())
    image = open_rgb(path)
    assert image.mode == "RGB"
    assert (seen.width, seen.height, seen.frames) == (*image.size, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (makers.text_named_jpg, "text/plain"),
        (makers.svg, r"image/svg\+xml.*PNG"),
        (makers.pdf, "application/pdf"),
        (makers.heic, "image/heic.*JPEG"),
        (makers.truncated_png, "23 of 48 rows"),
        (makers.short_png, "24 of 48 rows"),
        (makers.truncated_jpeg, r"6,138 bytes.*about \d+ % of the rows"),
        (makers.truncated_webp, r"1,222 of 2,444 bytes"),
        (makers.animated_gif, "4 frames"),
        (makers.animated_png, "4 frames"),
        (makers.animated_webp, "4 frames"),
        (makers.bomb_png, "30,000 × 30,000.*900.0 megapixels.*50.0"),
        (makers.garbage, "05 fa"),
    ],
)
def test_a_refusal_says_what_is_wrong(make: makers.Maker, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match=words):
        probe(make(tmp_path), field())


@pytest.mark.parametrize("make", [makers.animated_gif, makers.animated_png, makers.animated_webp])
def test_an_animated_picture_is_fine_where_the_field_takes_it(make: makers.Maker, tmp_path: Path) -> None:
    assert probe(make(tmp_path), field(animated=True)).frames == 4


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
    ],
)
def test_the_media_type_comes_from_the_bytes(format: str, media_type: str, tmp_path: Path) -> None:
    path = tmp_path / "no-ending"
    media.picture().save(path, format=format)
    seen = probe(path, field())
    assert (seen.media_type, seen.width, seen.height) == (media_type, 64, 48)
    with pytest.raises(BadMedia, match=media_type) as caught:
        probe(path, field("audio/*"))
    assert caught.value.code == "wrong_media_type"


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF"])
def test_half_of_a_file_of_any_format_is_broken(format: str, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    media.picture((300, 200)).save(path, format=format)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadMedia) as caught:
        probe(path, field())
    assert caught.value.code == "broken_media"


def test_tiff_pages_are_told_from_frames(tmp_path: Path) -> None:
    path = tmp_path / "scan.tiff"
    media.picture().save(path, save_all=True, append_images=[media.picture()])
    with pytest.raises(BadMedia, match="2 pages") as caught:
        probe(path, field())
    assert caught.value.code == "animated"


def test_a_phone_picture_with_a_second_view_in_it_is_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    media.picture().save(path, format="MPO", save_all=True, append_images=[media.picture()])
    seen = probe(path, field())
    assert (seen.media_type, seen.frames) == ("image/jpeg", 1)


def test_too_many_bytes_are_too_large_and_not_bad_media(tmp_path: Path) -> None:
    path = makers.palette_png(tmp_path)
    small = FileField(name="image", media_types=("image/*",), required=True, many=False, max_bytes=100)
    with pytest.raises(TooLarge, match="100"):
        probe(path, small)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (64, 48), (9, 130)])
def test_every_png_mode_and_size_has_the_rows_it_should(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    image = media.picture(size, mode if mode != "I;16" else "L")
    (image.convert("I").convert("I;16") if mode == "I;16" else image).save(path)
    assert (probe(path, field()).width, probe(path, field()).height) == size


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 4), (5, 9), (8, 8), (17, 33)])
def test_an_interlaced_png_has_the_bytes_of_its_seven_passes(size: tuple[int, int], tmp_path: Path) -> None:
    """Pixel by pixel from the specification's 8 × 8 pattern, against the sum the checker uses."""
    pattern = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
    rows: dict[tuple[str, int], int] = {}
    for y in range(size[1]):
        for x in range(size[0]):
            key = (pattern[y % 8][x % 8], y)
            rows[key] = rows.get(key, 0) + 1
    wanted = sum(1 + 3 * pixels for pixels in rows.values())
    path = tmp_path / "interlaced.png"
    for inflated, is_whole in ((wanted, True), (wanted - 1, False)):
        path.write_bytes(_interlaced(size, zlib.compress(bytes(inflated))))
        if is_whole:
            assert png.check_chunks(path).is_interlaced
        else:
            with pytest.raises(BadMedia, match="% of the picture"):
                png.check_chunks(path)


def test_the_limit_is_on_pixels_exactly(tmp_path: Path) -> None:
    path = makers.palette_png(tmp_path)
    assert probe(path, field(max_pixels=64 * 48)).width == 64
    with pytest.raises(BadMedia):
        probe(path, field(max_pixels=64 * 48 - 1))
    assert probe(path, field(max_pixels=None)).width == 64


def test_a_field_may_take_more_pixels_than_the_library_would(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.new("1", (20_000, 10_000)).save(path)
    assert probe(path, field(max_pixels=200_000_000)).width == 20_000
    with opened(path) as image:
        assert image.size == (20_000, 10_000)


def test_no_bomb_is_decoded_and_no_warning_leaks(tmp_path: Path) -> None:
    """In a process of its own with warnings as errors, and less memory than the picture would take."""
    path = makers.bomb_png(tmp_path)
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
from pathlib import Path
from springtide.domain.errors import BadMedia
from springtide.domain.model import FileField
from springtide.media.probe import probe
try:
    probe(Path({str(path)!r}), FileField(name="f", media_types=("image/*",), required=True, many=False,
                                         max_bytes=1 << 30, max_pixels=50_000_000))
except BadMedia as error:
    print(error.code)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("too_many_pixels\n", "")


# --- as engines get them --------------------------------------------------------------------------------------------


def test_print_colours_come_out_as_one_sees_them(tmp_path: Path) -> None:
    image = open_rgb(makers.cmyk_jpeg(tmp_path))
    assert near(image.getpixel((3, 3)), RED, 30)
    assert near(image.getpixel((60, 2)), media.picture().getpixel((60, 2)), 12)  # type: ignore[arg-type]


def test_cmyk_without_the_adobe_mark_is_not_inverted(tmp_path: Path) -> None:
    path = makers.cmyk_jpeg(tmp_path)
    inverted = Image.new("CMYK", (16, 16), (255, 0, 0, 255))  # stored as (0, 255, 255, 0): red
    inverted.save(path, quality=95)
    data = path.read_bytes()
    at = data.index(b"\xff\xee\x00\x0eAdobe")
    path.write_bytes(data[:at] + data[at + 16 :])
    assert near(open_rgb(path).getpixel((8, 8)), RED, 12)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    image = open_rgb(makers.grey_16bit_png(tmp_path))
    assert [image.getpixel((x, 1)) for x in (0, 1, 100, 255)] == [(0, 0, 0), (1, 1, 1), (100,) * 3, (255,) * 3]


def test_the_transparent_value_of_a_16_bit_png_is_scaled_too(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    image = Image.new("I;16", (2, 1), 0x80FF)
    image.putpixel((1, 0), 0xFFFF)
    image.save(path, transparency=0x80FF)
    assert [open_rgba(path).getpixel((x, 0)) for x in (0, 1)] == [(128, 128, 128, 0), (255, 255, 255, 255)]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-3.0, 5.0)])
def test_floating_point_pictures_use_the_whole_range(low: float, high: float, tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    image = Image.new("F", (2, 1))
    image.putpixel((0, 0), low)
    image.putpixel((1, 0), high)
    image.save(path)
    assert [open_rgb(path).getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), WHITE]


def test_a_transparent_palette_colour_is_white_in_rgb_and_clear_in_rgba(tmp_path: Path) -> None:
    path = makers.palette_png(tmp_path)
    assert open_rgb(path).getpixel((50, 10)) == WHITE
    assert open_rgba(path).getpixel((50, 10))[3] == 0  # type: ignore[index]
    assert open_rgba(path).getpixel((2, 2)) == (*RED, 255)


def test_grey_with_alpha_keeps_its_alpha(tmp_path: Path) -> None:
    image = open_rgba(makers.grey_alpha_png(tmp_path))
    assert image.getchannel("A").getextrema() == media.grey_alpha().getchannel("A").getextrema()
    assert image.getpixel((3, 3))[:3] == media.grey_alpha().convert("RGB").getpixel((3, 3))  # type: ignore[index]


def test_a_rotated_picture_is_turned_upright(tmp_path: Path) -> None:
    image = open_rgb(makers.rotated_jpeg(tmp_path))
    assert image.size == (64, 48)
    assert near(image.getpixel((3, 3)), RED, 30)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone(orientation: int, tmp_path: Path) -> None:
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = media.picture() if undo is None else media.picture().transpose(undo)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.jpg", "x.png", "x.webp"):
        stored.save(tmp_path / name, exif=exif.tobytes(), quality=95)
        seen = probe(tmp_path / name, field())
        assert (seen.width, seen.height) == (64, 48)
        image = open_rgb(tmp_path / name)
        assert image.size == (64, 48)
        assert near(image.getpixel((3, 3)), RED, 40)


@pytest.mark.parametrize("make", [makers.truncated_png, makers.truncated_jpeg, makers.garbage, makers.text_named_jpg])
def test_opening_what_is_broken_is_bad_media(make: makers.Maker, tmp_path: Path) -> None:
    with pytest.raises(BadMedia) as caught:
        open_rgb(make(tmp_path))
    assert caught.value.code == "broken_media"


# --- names of types -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media_type", "accepted", "answer"),
    [
        ("image/png", ("image/*",), True),
        ("image/png", ("image/jpeg", "image/png"), True),
        ("image/png", ("image/jpeg",), False),
        ("image/png", ("*/*",), True),
        ("image/jpeg", ("image/jpg",), True),
        ("audio/wav", ("audio/x-wav",), True),
        ("image/svg+xml", ("image/*",), False),
        ("image/svg+xml", ("image/svg+xml",), True),
        ("video/mp4", ("audio/*",), False),
        ("imagery/png", ("image/*",), False),
    ],
)
def test_wildcards(media_type: str, accepted: tuple[str, ...], answer: bool) -> None:
    assert is_accepted(media_type, accepted) is answer


def test_a_media_type_has_one_spelling() -> None:
    assert canonical(" Audio/X-WAV; codecs=1") == "audio/wav"


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"", None),
        (b"\0" * 4096, None),
        (b"BMW is a car, not a bitmap.", "text/plain"),
        ("天气".encode()[:-1], "text/plain"),
        (b"\xff\xfe\0a\0b", "text/plain"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"<!DOCTYPE html><html>", "text/html"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm"),
    ],
)
def test_sniffing(head: bytes, media_type: str | None) -> None:
    assert sniff(head) == media_type


@pytest.mark.parametrize(
    ("accepted", "answer"), [(("*/*",), "application/pdf"), (("image/png", "application/pdf"), "application/pdf")]
)
def test_a_file_that_is_no_media_is_fine_where_it_is_listed(
    accepted: tuple[str, ...], answer: str, tmp_path: Path
) -> None:
    assert probe(makers.pdf(tmp_path), field(*accepted)).media_type == answer


def test_unknown_bytes_are_fine_where_anything_is(tmp_path: Path) -> None:
    assert probe(makers.garbage(tmp_path), field("*/*")).media_type == "application/octet-stream"


def _interlaced(size: tuple[int, int], data: bytes) -> bytes:
    header = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big") + bytes([8, 2, 0, 0, 1])
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )


def test_an_svg_is_refused_as_what_it_is_with_the_pictures_that_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "logo.jpg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    with pytest.raises(BadMedia) as raised:
        probe(path, field("image/*"))
    assert raised.value.code == "wrong_media_type"
    assert raised.value.details["accepted"] == list(PICTURES)
    for word in ("image/svg+xml", "image/png, image/jpeg", "not a photograph", "export it as PNG"):
        assert word in raised.value.message
    assert "image/*" not in raised.value.message

"""What a file is, by its first bytes. Never by its name, and never by what the client says.

Promises the IANA media type for what a person may send, also for what Springtide does not read, so that a refusal can
say what the file is. Refuses to guess: bytes that belong to no known format are None.
Sources of the magic numbers: the formats' own specifications, named beside each where the number does not say it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

HEAD_BYTES = 4096  # enough for every magic number and for the first text of an SVG with a licence comment before it

PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")  # those that can be read

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),  # BigTIFF
    (b"MM\0+", "image/tiff"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
    (b"\0\0\0\x0cjP  ", "image/jp2"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b"caff", "audio/x-caf"),
    (b".snd", "audio/basic"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-asf"),
    (b"FLV\1", "video/x-flv"),
    (b"\0\0\1\xba", "video/mpeg"),
    (b"\0\0\1\xb3", "video/mpeg"),
    (b"%PDF-", "application/pdf"),
    (b"PK\3\4", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\7", "application/vnd.rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),  # Word, Excel before 2007
    (b"\x7fELF", "application/x-executable"),
    (b"MZ\x90\0", "application/x-executable"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_OGG_VIDEO = (b"\x80theora", b"\x01video", b"BBCD")
_BRANDS: dict[bytes, str] = {  # ISO 14496-12 major brands that are not plain MP4
    b"heic": "image/heic", b"heix": "image/heic", b"heim": "image/heic", b"hevc": "image/heic", b"hevx": "image/heic",
    b"mif1": "image/heif", b"msf1": "image/heif", b"avif": "image/avif", b"avis": "image/avif",
    b"crx ": "image/x-canon-cr3", b"qt  ": "video/quicktime", b"M4A ": "audio/mp4", b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4", b"F4A ": "audio/mp4",
}  # fmt: skip
_QUICKTIME_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_DIB_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_ALIASES = {
    "image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png", "image/x-ms-bmp": "image/bmp",
    "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/vnd.wave": "audio/wav", "audio/mp3": "audio/mpeg",
    "audio/x-flac": "audio/flac", "audio/m4a": "audio/mp4", "audio/x-m4a": "audio/mp4", "audio/aacp": "audio/aac",
    "audio/opus": "audio/ogg", "audio/x-aiff": "audio/aiff", "video/avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo", "video/x-m4v": "video/mp4", "video/matroska": "video/x-matroska",
}  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # escape and form feed occur in real text


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes of a file belong to (4 KiB are enough), None where they belong to none."""
    for prefix, media_type in _PREFIXES:
        if head.startswith(prefix):
            return media_type
    return _sniff_container(head) or _sniff_frames(head) or _sniff_text(head)


def is_accepted(media_type: str, accepted: Iterable[str]) -> bool:
    """Whether a list such as ("image/*", "audio/wav") covers `media_type`. `image/*` covers the pictures that can be
    read (an SVG only where it is listed by name), audio/* and video/* all sound and video, */* everything."""
    for pattern in accepted:
        wanted = canonical(pattern)
        if wanted in ("*/*", "*", media_type):
            return True
        if wanted.endswith("/*") and media_type.startswith(wanted[:-1]):
            return wanted != "image/*" or media_type in PICTURES
    return False


def canonical(media_type: str) -> str:
    """One spelling for each media type, without parameters."""
    plain = media_type.partition(";")[0].strip().lower()
    return _ALIASES.get(plain, plain)


def _sniff_container(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if head[:4] == b"OggS":
        return "video/ogg" if any(mark in head for mark in _OGG_VIDEO) else "audio/ogg"
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML: the document type says which
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return _BRANDS.get(brand, "video/3gpp" if brand.startswith(b"3g") else "video/mp4")
    if head[4:8] in _QUICKTIME_ATOMS:
        return "video/quicktime"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _DIB_HEADER_SIZES:
        return "image/bmp"
    return None


def _sniff_frames(head: bytes) -> str | None:
    """Formats without a header: nothing but frames, told by their sync words."""
    if len(head) > 188 and head[0] == head[188] == 0x47 and head[376:377] in (b"\x47", b""):
        return "video/mp2t"
    if len(head) < 4 or head[0] != 0xFF or head[1] == 0xFE:  # FF FE begins UTF-16 far more often than MPEG layer I
        return None
    if head[1] & 0xF6 == 0xF0:  # ADTS: layer is always 0
        return "audio/aac" if (head[2] >> 2 & 0xF) < 13 else None
    # MPEG audio: version and layer not reserved, bit rate not 15, sample rate not 3
    is_frame = head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08 and head[1] & 0x06 != 0
    return "audio/mpeg" if is_frame and head[2] >> 4 != 15 and (head[2] >> 2 & 3) != 3 else None


def _sniff_text(head: bytes) -> str | None:
    if not head.strip(b"\0 \t\r\n"):
        return None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "text/plain"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # the head may end within a character
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text):
        return None
    start = text.lstrip()[:14].lower()
    if start.startswith(("<svg", "<?xml", "<!--", "<!doctype svg")) and "<svg" in text.lower():
        return "image/svg+xml"
    if start.startswith(("<!doctype html", "<html")):
        return "text/html"
    return "application/json" if start.startswith(("{", "[")) else "text/plain"

"""Words about origin in the metadata of pictures (XMP) and films (container tags), without touching a pixel.

A picture's file is not decoded: a packet is put where the format keeps such things. A film is taken over packet by
packet into a new container. A picture that has XMP already keeps it, and gets no second.
"""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from springtide.media.sniffing import HEAD_BYTES, sniff

PICTURES = frozenset({"image/png", "image/jpeg", "image/webp"})
FILMS = frozenset({"video/mp4", "video/quicktime", "video/webm", "video/x-matroska"})

_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_MOST = 65_533  # bytes of a segment, its length not counted
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"  # keyword, not compressed, no language, no translation
_WEBP_HAS_XMP, _WEBP_HAS_ALPHA = 0x04, 0x10
_SOURCE_TYPE = re.compile(rb'Iptc4xmpExt:DigitalSourceType="([!-~]{1,200}?)"')
_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType={source_type} xmp:CreatorTool={tool}>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def media_type_of(path: Path) -> str:
    """By the bytes: files on their way through the platform have no endings. Empty for what is not known."""
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES)) or ""


def write_xmp(path: Path, *, source_type: str, title: str, tool: str, description: str) -> None:
    """Put an XMP packet into a PNG, JPEG or WebP. Raises ValueError for a file that is none of them."""
    packet = _PACKET.format(
        source_type=quoteattr(source_type), tool=quoteattr(tool), title=escape(title), description=escape(description)
    ).encode()
    data = path.read_bytes()
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        changed = _into_png(data, packet)
    elif data.startswith(b"\xff\xd8"):
        changed = _into_jpeg(data, packet)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        changed = _into_webp(data, packet)
    else:
        raise ValueError(f"{path.name} is no PNG, JPEG or WebP")
    path.write_bytes(changed)


def retag_film(path: Path, tags: dict[str, str]) -> None:
    """Write the film anew with these tags beside those it has; its packets stay as they are. Raises BadMedia for a file
    that cannot be read."""
    import av

    from springtide.media.containers import opened

    new = path.with_name(f"{path.stem}.tagged{path.suffix}")
    options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    try:
        with opened(path) as source, av.open(str(new), "w", options=options) as target:
            target.metadata.update({**source.metadata, **tags})
            streams = {}
            for stream in (*source.streams.video, *source.streams.audio):
                streams[stream.index] = target.add_stream_from_template(stream)
                streams[stream.index].metadata.update(stream.metadata)  # a WebM says there that it is transparent
            for packet in source.demux(*(source.streams[index] for index in streams)):
                if packet.size:  # the empty one at the end is for decoders
                    packet.stream = streams[packet.stream_index]
                    target.mux(packet)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def film_comment(path: Path) -> str:
    """What stands in a film's comment tag. Raises BadMedia for a file that cannot be read."""
    from springtide.media.containers import opened

    with opened(path) as container:
        return next((value for key, value in container.metadata.items() if key.lower() == "comment"), "")


def source_type_in_xmp(path: Path) -> str:
    """The digital source type that a picture's XMP names; empty where it names none."""
    found = _SOURCE_TYPE.search(path.read_bytes())
    return "" if found is None else found[1].decode("ascii", "replace")


def _into_png(data: bytes, packet: bytes) -> bytes:
    if _PNG_XMP[:17] in data:
        return data
    body = b"iTXt" + _PNG_XMP + packet
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end_of_header = 8 + 25  # the signature, and IHDR
    return data[:end_of_header] + chunk + data[end_of_header:]


def _into_jpeg(data: bytes, packet: bytes) -> bytes:
    if _JPEG_XMP in data[: 1 << 18]:
        return data
    at = 2
    while data[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):  # JFIF and EXIF come first
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    body = _JPEG_XMP + packet
    if len(body) > _JPEG_MOST:
        raise ValueError(f"the words about origin have {len(body)} bytes; a JPEG takes {_JPEG_MOST}")
    return data[:at] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[at:]


def _into_webp(data: bytes, packet: bytes) -> bytes:
    """A plain WebP becomes an extended one, whose first chunk says what else there is."""
    chunks = data[12:]
    if chunks[:4] == b"VP8X":
        if chunks[8] & _WEBP_HAS_XMP:
            return data
        chunks = chunks[:8] + bytes([chunks[8] | _WEBP_HAS_XMP]) + chunks[9:]
    else:
        width, height, has_alpha = _webp_size(chunks)
        flags = _WEBP_HAS_XMP | (_WEBP_HAS_ALPHA if has_alpha else 0)
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = b"VP8X" + struct.pack("<IB3x", 10, flags) + size + chunks
    chunks += b"XMP " + struct.pack("<I", len(packet)) + packet + bytes(len(packet) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def _webp_size(chunks: bytes) -> tuple[int, int, bool]:
    """From the header of the one picture in it: lossless, or lossy."""
    if chunks[:4] == b"VP8L":
        bits = int.from_bytes(chunks[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    width, height = struct.unpack_from("<HH", chunks, 14)
    return width & 0x3FFF, height & 0x3FFF, False

"""Whether a PNG is whole, in constant memory and without making a picture of it.

Promises to say what is missing in numbers: which chunk breaks off, how many of the rows are there. Decoders stop at the
first broken chunk and give a half-grey picture or an error a minute into a job; this looks before the job is accepted.
Refuses to inflate more than the header announces: a bomb costs what an honest picture of its size does.
Source: PNG specification, third edition (W3C, 2025): chunks (5.3), pass sizes (8.2), animation (11.3.4).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import msgspec

from springtide.domain.errors import BadMedia

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # Adam7
_PIECE_BYTES = 1 << 16


class PngFacts(msgspec.Struct, kw_only=True):
    """What the chunks say."""

    width: int
    height: int
    bits: int  # of one pixel
    is_interlaced: bool
    frames: int = 1
    has_exif: bool = False


def read_header(file: BinaryIO) -> PngFacts:
    """Size and format from the first chunk; `file` then stands behind it."""
    start = file.read(_SIGNATURE_BYTES + 25)
    if len(start) < _SIGNATURE_BYTES + 25 or start[12:16] != b"IHDR":
        raise BadMedia(f"The PNG ends after {len(start):,} bytes, within its header.", code="broken_media")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", start[16:29])
    if not width or not height or colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise BadMedia(
            f"The PNG's header makes no sense: {width} × {height} pixels, {depth} bits, colour type {colour}.",
            code="broken_media",
        )
    return PngFacts(width=width, height=height, bits=depth * _CHANNELS[colour], is_interlaced=bool(interlace))


def check_chunks(path: Path) -> PngFacts:
    """Walk every chunk: checksums, the end mark, and all rows of the picture. Raises BadMedia (`broken_media`)."""
    with path.open("rb") as file:
        facts = read_header(file)
        rows = _Rows(facts)
        while True:
            at = file.tell()
            head = file.read(8)
            if len(head) < 8:
                raise _ends(at + len(head), "before its end mark", rows)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == b"IEND":
                break
            _read_chunk(file, length, kind, facts, rows)
    if rows.missing:
        raise BadMedia(f"The PNG breaks off: {rows.there()}. Send the whole file.", code="broken_media")
    return facts


class _Rows:
    """Counts the picture's bytes as they inflate."""

    def __init__(self, facts: PngFacts) -> None:
        self._facts = facts
        self._expected = _inflated_bytes(facts)
        self._inflater = zlib.decompressobj()
        self._seen = 0

    @property
    def missing(self) -> int:
        return self._expected - self._seen

    def feed(self, data: bytes) -> None:
        while data and self.missing > 0:
            try:
                self._seen += len(self._inflater.decompress(data, min(self.missing, _PIECE_BYTES)))
            except zlib.error as error:
                raise BadMedia("The PNG's picture data is damaged. Save it anew.", code="broken_media") from error
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                return

    def there(self) -> str:
        """How much of the picture there is."""
        if self._facts.is_interlaced:
            return f"{100 * self._seen // self._expected} % of the picture is there"
        return f"{self._seen // _row_bytes(self._facts.width, self._facts)} of {self._facts.height} rows are there"


def _read_chunk(file: BinaryIO, length: int, kind: bytes, facts: PngFacts, rows: _Rows) -> None:
    crc = zlib.crc32(kind)
    left = length
    while left:
        data = file.read(min(left, _PIECE_BYTES))
        if not data:
            where = f"within a chunk ({kind.decode('latin-1')}), {left:,} bytes short"
            raise _ends(file.tell(), where, rows)
        if kind == b"acTL" and left == length:
            facts.frames = int.from_bytes(data[:4], "big") or 1
        elif kind == b"IDAT":
            rows.feed(data)
        crc = zlib.crc32(data, crc)
        left -= len(data)
    stored = file.read(4)
    if len(stored) < 4:
        raise _ends(file.tell(), f"within a chunk ({kind.decode('latin-1')})", rows)
    if int.from_bytes(stored, "big") != crc and kind[0] & 0x20 == 0:  # a decoder ignores a damaged remark
        raise BadMedia(
            f"The PNG is damaged: the checksum of a chunk ({kind.decode('latin-1')}) is wrong. Save it anew.",
            code="broken_media",
        )
    facts.has_exif |= kind == b"eXIf"


def _ends(at: int, where: str, rows: _Rows) -> BadMedia:
    return BadMedia(
        f"The PNG ends after {at:,} bytes, {where}: {rows.there()}. Send the whole file.", code="broken_media"
    )


def _inflated_bytes(facts: PngFacts) -> int:
    if not facts.is_interlaced:
        return facts.height * _row_bytes(facts.width, facts)
    total = 0
    for x, y, step_x, step_y in _PASSES:
        width, height = -(-(facts.width - x) // step_x), -(-(facts.height - y) // step_y)
        if width > 0 and height > 0:
            total += height * _row_bytes(width, facts)
    return total


def _row_bytes(width: int, facts: PngFacts) -> int:
    return 1 + -(-width * facts.bits // 8)  # one byte says how the row is filtered

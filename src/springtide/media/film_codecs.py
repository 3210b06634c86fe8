"""The codecs that films are written in, and what each goes with. Apart from the writer, so that whoever only offers the
choice need not load the library."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

SOUND_RATE = 48_000  # Hz: what film uses, and the one rate of Opus


class Codec(StrEnum):
    """How a film is compressed."""

    H264 = "h264"
    H265 = "h265"
    VP9 = "vp9"
    PRORES = "prores"

    @property
    def suffix(self) -> str:
        """Of the file that it goes into."""
        return FORMS[self].suffix

    @property
    def media_type(self) -> str:
        return FORMS[self].media_type

    @property
    def has_alpha(self) -> bool:
        return self in (Codec.VP9, Codec.PRORES)

    @property
    def max_crf(self) -> int:
        """CRF goes from 0, the best, to this; 0 where the codec has one quality only."""
        return FORMS[self].max_crf


class Form(NamedTuple):
    encoder: str
    suffix: str
    media_type: str
    sound: str
    max_crf: int
    crf: int  # what the encoders' guides give for good quality: hard to tell from the original
    options: dict[str, str]


FORMS = {
    Codec.H264: Form("libx264", ".mp4", "video/mp4", "aac", 51, 20, {"preset": "medium"}),
    Codec.H265: Form("libx265", ".mp4", "video/mp4", "aac", 51, 24, {"preset": "fast"}),
    # cpu-used 4: the encoder's own guide for what must not take for ever
    Codec.VP9: Form(
        "libvpx-vp9", ".webm", "video/webm", "libopus", 63, 30,
        {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    ),
    Codec.PRORES: Form("prores_ks", ".mov", "video/quicktime", "pcm_s16le", 0, 0, {"profile": "4444"}),
}  # fmt: skip

"""The sound of a film that is being written: packets taken over from another file, or encoded, in step with the frames.

A track is taken over as it is only where both containers keep exact times (MP4, MOV, WebM, Matroska) and the new one
may hold its codec; whatever else there is comes out as stereo at 48 kHz. Times count from the start of the file the
sound is from, as its frames do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from springtide.media.audio import stream_stereo
from springtide.media.containers import opened, sound_of
from springtide.media.film_codecs import SOUND_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_BITS_PER_S = 160_000  # stereo AAC is transparent from about 128 kbit/s on; Opus earlier
_EXACT = frozenset({"mov", "matroska"})  # demuxers by the first of their names
_TAKEN_OVER = {"aac": ("aac", "mp3", "ac3", "eac3"), "libopus": ("opus", "vorbis"), "pcm_s16le": ("pcm_s16le", "aac")}


class SoundTrack:
    """One audio stream of `container`, fed from `source` as far as it is asked to be."""

    def __init__(
        self, container: OutputContainer, source: Path | Iterable[NDArray[np.float32]], *, encoder: str
    ) -> None:
        """Adds the stream, so it comes before the first packet of any. Nothing is added for a file without sound.
        encoder: the container's usual one."""
        self._container = container
        self._resources = ExitStack()
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None
        if not isinstance(source, Path):
            self._packets = _encoded(_new_stream(container, encoder), source)
            return
        given = self._resources.enter_context(opened(source))
        track = sound_of(given)
        if track is None:
            return
        demuxer = given.format.name.partition(",")[0]
        if demuxer in _EXACT and track.codec_context.name in _TAKEN_OVER[encoder]:
            self._packets = _taken_over(container.add_stream_from_template(track), given, track)
        else:
            self._packets = _encoded(_new_stream(container, encoder), stream_stereo(source))

    def mux_until(self, seconds: float | None) -> None:
        """Write what sounds before `seconds` of the film, or all there is."""
        while True:
            if self._next is None:
                self._next = next(self._packets, None)
            if self._next is None:
                return
            stamp = self._next.dts if self._next.dts is not None else self._next.pts
            if seconds is not None and stamp is not None and stamp * self._next.time_base >= seconds:
                return
            self._container.mux(self._next)
            self._next = None

    def close(self) -> None:
        self._resources.close()


def _new_stream(container: OutputContainer, encoder: str) -> AudioStream:
    stream = container.add_stream(encoder, rate=SOUND_RATE)
    assert isinstance(stream, AudioStream)
    stream.layout = "stereo"  # type: ignore[assignment]  # the library takes a name
    if encoder in ("aac", "libopus"):
        stream.bit_rate = _BITS_PER_S
    return stream


def _encoded(stream: AudioStream, pieces: Iterable[NDArray[np.float32]]) -> Iterator[Packet[AudioStream]]:
    import numpy as np

    samples = 0
    for piece in pieces:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece, np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, samples, Fraction(1, SOUND_RATE)
        samples += frame.samples
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _taken_over(stream: AudioStream, given: InputContainer, track: AudioStream) -> Iterator[Packet[AudioStream]]:
    origin = Fraction(given.start_time or 0, av.time_base)
    for packet in given.demux(track):
        if packet.dts is None or packet.pts is None:  # the one that only ends the stream
            continue
        shift = round(origin / packet.time_base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        packet.stream = stream
        yield packet

"""Pictures taken over from one container into another as they are, still turned as they were."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream


def copied(
    given: InputContainer, pictures: VideoStream, new: OutputContainer
) -> Iterator[tuple[Packet[VideoStream], float]]:
    """Adds the stream to `new` at once; then gives its packets, ready to be muxed, each with its time in seconds from
    the start of the file."""
    stream = new.add_stream_from_template(pictures)
    stream.metadata.update(pictures.metadata)
    return _packets(given, pictures, stream)


def _packets(
    given: InputContainer, pictures: VideoStream, stream: VideoStream
) -> Iterator[tuple[Packet[VideoStream], float]]:
    origin = Fraction(given.start_time or 0, av.time_base)
    for packet in given.demux(pictures):
        if not packet.size:  # the empty one at the end is for decoders
            continue
        shift = round(origin / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = stream
        stamp = packet.dts if packet.dts is not None else packet.pts
        yield packet, float((stamp or 0) * packet.time_base)

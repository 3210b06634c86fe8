"""Sound as engines want it: float32 at one rate, in pieces, from any container; mono to listen to, stereo to keep.

Promises constant memory for an hour of sound, no clipping where channels are mixed, and time that counts from the start
of the file: a track that begins later than the video is preceded by silence.
Refuses nothing that decodes: silence is sound, damaged packets are skipped, the end of a cut file is its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from springtide.domain.errors import BadMedia

if TYPE_CHECKING:
    import numpy as np
    from av import AudioResampler
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

_MAX_LEAD_S = 3600.0  # a later start than this is a wrong time stamp, as live recordings have them


def stream_pcm(path: Path, rate: int = 16000, chunk_s: float = 30.0) -> Iterator[NDArray[np.float32]]:
    """Decode the first audio track piece by piece.

    Yields float32[samples], mono, -1 to 1, `rate` samples a second, `chunk_s` seconds each but for the last.
    Raises BadMedia: `no_audio_track`, or `broken_media` where nothing of it can be decoded.
    """
    import numpy as np  # an extra of the engines: the gateway imports this package without it

    from springtide.media.containers import opened, sound_of

    size = max(1, round(rate * chunk_s))
    chunk, filled = np.zeros(size, np.float32), 0
    has_sound = False
    with opened(path) as container:
        stream = sound_of(container)
        if stream is None:
            raise BadMedia("The file has no audio track that can be decoded.", code="no_audio_track")
        for (piece,) in _pieces(container, stream, rate, "mono"):
            has_sound = True
            at = 0
            while at < len(piece):
                taken = min(size - filled, len(piece) - at)
                chunk[filled : filled + taken] = piece[at : at + taken]
                filled, at = filled + taken, at + taken
                if filled == size:
                    yield chunk
                    chunk, filled = np.zeros(size, np.float32), 0
    if filled:
        yield chunk[:filled].copy()
    if not has_sound:
        raise BadMedia("Nothing of the audio track can be decoded.", code="broken_media")


def stream_stereo(path: Path, rate: int = 48000) -> Iterator[NDArray[np.float32]]:
    """Decode the first audio track piece by piece, whatever its channels are, mixed to two.

    Yields float32[2, samples], left and right, -1 to 1, as many samples as come out at once (about a thousand).
    Raises BadMedia as `stream_pcm` does.
    """
    from springtide.media.containers import opened, sound_of

    has_sound = False
    with opened(path) as container:
        stream = sound_of(container)
        if stream is None:
            raise BadMedia("The file has no audio track that can be decoded.", code="no_audio_track")
        for piece in _pieces(container, stream, rate, "stereo"):
            has_sound = True
            yield piece
    if not has_sound:
        raise BadMedia("Nothing of the audio track can be decoded.", code="broken_media")


def _pieces(container: InputContainer, stream: AudioStream, rate: int, layout: str) -> Iterator[NDArray[np.float32]]:
    """float32[channels of `layout`, samples]"""
    import numpy as np

    from springtide.media.containers import decode_sound

    resampler, form = None, None
    for frame in decode_sound(container, stream):
        if resampler is None:
            lead = round(_lead_s(container, frame) * rate)
            for start in range(0, lead, rate):
                yield np.zeros((1 if layout == "mono" else 2, min(rate, lead - start)), np.float32)
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or now != form:  # a chained file may change its form half way
            if resampler is not None:
                yield from _arrays(resampler.resample(None))
            resampler, form = _mixer(rate, layout), now
        frame.pts = None  # gaps and jumps in damaged time stamps would be filled or dropped
        yield from _arrays(resampler.resample(frame))
    if resampler is not None:
        yield from _arrays(resampler.resample(None))


def _mixer(rate: int, layout: str) -> AudioResampler:
    from av import AudioResampler

    # Without it, equal left and right would come out 3 dB louder, past full scale.
    return AudioResampler(format="fltp", layout=layout, rate=rate, options={"rematrix_maxval": "1.0"})


def _arrays(frames: list[AudioFrame]) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for frame in frames:
        yield frame.to_ndarray().astype(np.float32, copy=False)


def _lead_s(container: InputContainer, first: AudioFrame) -> float:
    """How much later the sound begins than the file does."""
    import av

    if first.time is None:
        return 0.0
    lead = first.time - (container.start_time or 0) / av.time_base
    return lead if 0 < lead <= _MAX_LEAD_S else 0.0

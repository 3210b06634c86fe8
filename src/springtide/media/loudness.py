"""How loud sound is, by EBU R 128 (ITU-R BS.1770), and sound made as loud as asked.

Works on stereo at 48 kHz in pieces, in flat memory, through FFmpeg's `ebur128` and `alimiter`. Where a plain gain stays
under the peak limit it is a plain gain, and nothing else is touched; where it does not, a limiter holds the peaks, and
the gain is raised until the loudness is what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from springtide.media.film_codecs import SOUND_RATE

if TYPE_CHECKING:
    import numpy as np
    from av.audio.frame import AudioFrame
    from av.filter import Graph
    from numpy.typing import NDArray

SILENCE_LUFS = -70.0  # what R 128's gate lets pass is louder
_OVERSAMPLED = 4 * SOUND_RATE  # where peaks between samples show (BS.1770-4, annex 2)
_SPARE_DB = 0.3  # that the limiter leaves: going back to 48 kHz lifts peaks a little
_NEAR_LU = 0.2  # of the target: nobody hears less
_TRIES = 4
_MOST_GAIN_DB = 40.0  # more lifts noise, not sound


class Loudness(msgspec.Struct, frozen=True):
    """What was measured."""

    lufs: float  # integrated; -70 for silence, and for less than 0.4 s
    range_lu: float
    true_peak_db: float  # dBTP; -inf for digital silence

    @property
    def is_silent(self) -> bool:
        return self.lufs <= SILENCE_LUFS


def measure(pieces: Iterable[NDArray[np.float32]]) -> Loudness:
    """pieces: float32[2, samples] at 48 kHz, as `audio.stream_stereo` gives them."""
    last: dict[str, str] = {}
    for frame in _filtered(pieces, ("ebur128", "peak=true:metadata=1:framelog=quiet")):
        last = frame.metadata or last
    peaks = [float(value) for key, value in last.items() if key.startswith("lavfi.r128.true_peaks_ch")]
    highest = max(peaks, default=0.0)
    return Loudness(
        lufs=float(last.get("lavfi.r128.I", SILENCE_LUFS)),
        range_lu=float(last.get("lavfi.r128.LRA", 0.0)),
        true_peak_db=20 * math.log10(highest) if highest > 0 else -math.inf,
    )


class Leveling(msgspec.Struct, frozen=True):
    """What is done to sound."""

    gain_db: float
    limit_db: float | None  # dBTP; None: no peak comes near

    def apply(self, pieces: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Pieces of the same form, together as long."""
        import numpy as np

        gain = np.float32(10 ** (self.gain_db / 20))
        if self.limit_db is None:
            yield from (piece * gain for piece in pieces)
            return
        limit = 10 ** ((self.limit_db - _SPARE_DB) / 20)
        limiter = (
            ("aresample", str(_OVERSAMPLED)),
            ("alimiter", f"limit={limit:.4f}:attack=5:release=60:level=false:latency=true"),
        )
        for frame in _filtered((piece * gain for piece in pieces), *limiter):
            yield frame.to_ndarray().astype(np.float32, copy=False)


def leveling(
    sound: Callable[[], Iterable[NDArray[np.float32]]], measured: Loudness, *, lufs: float, true_peak_db: float
) -> Leveling:
    """What makes `sound` (its pieces, from the start at each call) as loud as asked; silence is left alone.

    measured: what `measure` says of it. As near as can be: a limiter can do no more than `_MOST_GAIN_DB` of gain.
    """
    if measured.is_silent:
        return Leveling(0.0, None)
    gain_db = min(_MOST_GAIN_DB, lufs - measured.lufs)
    if measured.true_peak_db + gain_db <= true_peak_db:
        return Leveling(gain_db, None)
    for _ in range(_TRIES):
        found = Leveling(gain_db, true_peak_db)
        missing = lufs - measure(found.apply(sound())).lufs
        if abs(missing) <= _NEAR_LU:
            break
        gain_db = min(_MOST_GAIN_DB, gain_db + missing)
    return Leveling(gain_db, true_peak_db)


def _filtered(pieces: Iterable[NDArray[np.float32]], *filters: tuple[str, str]) -> Iterator[AudioFrame]:
    """Frames as they come out of a chain of filters, again float32 at 48 kHz."""
    import numpy as np
    from av.audio.frame import AudioFrame
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(
        sample_rate=SOUND_RATE, format="fltp", layout="stereo", time_base=Fraction(1, SOUND_RATE)
    )
    graph.link_nodes(
        source,
        *(graph.add(*one) for one in filters),
        graph.add("aresample", str(SOUND_RATE)),
        graph.add("aformat", f"sample_fmts=fltp:channel_layouts=stereo:sample_rates={SOUND_RATE}"),
        graph.add("abuffersink"),
    ).configure()
    samples = 0
    for piece in pieces:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(piece, np.float32), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, samples, Fraction(1, SOUND_RATE)
        samples += frame.samples
        graph.push(frame)
        yield from _pulled(graph)
    graph.push(None)
    yield from _pulled(graph)


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    from av.audio.frame import AudioFrame
    from av.error import BlockingIOError as NotYet
    from av.error import EOFError as NoMore

    while True:
        try:
            frame = graph.pull()
        except (NotYet, NoMore):
            return
        assert isinstance(frame, AudioFrame)
        yield frame

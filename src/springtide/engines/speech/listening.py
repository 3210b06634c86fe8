"""From a file to pieces of speech with their samples: decode, detect voice, cut; all a chunk at a time.

The voice activity detector is Silero's (MIT), as it lies in the faster-whisper package. Its state is carried from chunk
to chunk, so the cuts do not depend on how the file was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from springtide.engines.onnx import open_session
from springtide.engines.speech.cuts import RATE, WINDOW, Cutter, Span
from springtide.media.audio import stream_pcm

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONTEXT = 64  # samples of the window before that the detector also sees
CHUNK_S = 1024 * WINDOW / RATE  # whole windows: about half a minute


class VoiceDetector:
    """Probability of speech for each window of 512 samples at 16 kHz."""

    def __init__(self) -> None:
        from faster_whisper.utils import get_assets_path

        # So small that threads, or a GPU, would only make it wait.
        self._session = open_session(Path(get_assets_path()) / "silero_vad_v6.onnx", threads=1, providers="cpu")
        self.reset()

    def reset(self) -> None:
        """Before another recording."""
        import numpy as np

        self._h: Any = np.zeros((1, 1, 128), np.float32)
        self._c: Any = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def __call__(self, samples: NDArray[np.float32]) -> list[float]:
        """samples: float32[n × 512], the next of the recording. Returns n probabilities."""
        import numpy as np

        windows = samples.reshape(-1, WINDOW)
        before = np.vstack([self._context, windows[:-1, -CONTEXT:]])
        inputs = {"input": np.hstack([before, windows]), "h": self._h, "c": self._c}
        result, self._h, self._c = self._session.run(None, inputs)
        self._context = windows[-1, -CONTEXT:].copy()
        return [float(value) for value in np.asarray(result).reshape(-1)]


class Recording:
    """One file being listened to. `heard_s` grows as `pieces` is read; `heard` is told of what lies behind: silence,
    or speech that has been given out."""

    def __init__(self, path: Path, detector: VoiceDetector, *, heard: Callable[[float], None] | None = None) -> None:
        self._path = path
        self._detector = detector
        self._heard = heard
        self.heard_s = 0.0

    def pieces(self) -> Iterator[tuple[Span, NDArray[np.float32]]]:
        """Pieces of speech in order, with their samples (float32, 16 kHz, mono). Raises BadMedia."""
        import numpy as np

        cutter, buffer, offset, total, given = Cutter(), np.zeros(0, np.float32), 0, 0, 0
        self._detector.reset()
        for chunk in stream_pcm(self._path, RATE, CHUNK_S):
            total += len(chunk)
            padded = np.pad(chunk, (0, -len(chunk) % WINDOW))  # only the last chunk is not whole windows
            buffer = np.concatenate([buffer, chunk])
            for span in cutter.push(self._detector(padded)):
                yield _clipped(span, total), _cut(buffer, offset, span)
                given = span.end
            keep_from = min(cutter.keep_from, total)
            buffer, offset = buffer[max(0, keep_from - offset) :], max(offset, keep_from)
            self.heard_s = total / RATE
            if self._heard is not None:
                self._heard(max(given, keep_from) / RATE)  # what is decoded beyond still waits in a piece
        for span in cutter.finish():
            yield _clipped(span, total), _cut(buffer, offset, span)


def _clipped(span: Span, total: int) -> Span:
    """The last window and the padding may reach past the end of the recording."""
    return Span(span.start, min(span.end, total))


def _cut(buffer: NDArray[np.float32], offset: int, span: Span) -> NDArray[np.float32]:
    return buffer[max(0, span.start - offset) : max(0, span.end - offset)]

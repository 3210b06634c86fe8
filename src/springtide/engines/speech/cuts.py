"""Where to cut a recording: from the probability of speech in each window to pieces of at most half a minute.

Pure and incremental: windows go in as they are decoded, pieces come out as soon as they are certain, so an hour needs
no more memory than a minute. Silence is in no piece, so a model that invents words for silence never hears any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 512  # samples: what Silero's detector takes at 16 kHz
RATE = 16000

ENTER = 0.5  # probability at which speech begins, Silero's own default
LEAVE = 0.35  # and below which it ends: lower, so that a weak syllable does not cut a word
MIN_SILENCE_S = 0.4  # a pause between words is shorter
MIN_SPEECH_S = 0.2  # a click is shorter than any word
PAD_S = 0.2  # kept on both sides: first and last sounds are soft
MAX_PIECE_S = 29.0  # Whisper hears 30 s at once
# Longer silences (between paddings) part pieces, shorter ones stay inside as context. At 1.5 s the model left out whole
# sentences after a pause (a quarter of two minutes of Mandarin) or said others twice; at 0.8 s and 0.5 s it does not.
MAX_GAP_S = 0.5


@dataclass(frozen=True, slots=True)
class Span:
    """Samples `start` to `end` (exclusive) of the recording."""

    start: int
    end: int


class Cutter:
    """Feed windows with `push`, then `finish`; both give the pieces that are certain by then."""

    def __init__(self) -> None:
        self._window = 0  # index of the next window
        self._speech_start: int | None = None  # in windows
        self._quiet_since: int | None = None
        self._probabilities: list[float] = []  # of the current speech
        self._piece: Span | None = None
        self._floor = 0  # end of the last piece given out: no sample is heard twice
        self._goes_on = False  # the current speech is what was left of a longer one

    @property
    def keep_from(self) -> int:
        """First sample that a coming piece may still need."""
        starts = [self._window * WINDOW]
        if self._speech_start is not None:
            starts.append(self._speech_start * WINDOW)
        oldest = max(0, min(starts) - round(PAD_S * RATE))
        return oldest if self._piece is None else min(oldest, self._piece.start)

    def push(self, probabilities: Sequence[float]) -> list[Span]:
        """Probabilities of speech in the next windows."""
        pieces: list[Span] = []
        for probability in probabilities:
            pieces += self._step(probability)
            self._window += 1
        return pieces

    def finish(self) -> list[Span]:
        """No more windows: the rest."""
        pieces: list[Span] = []
        if self._speech_start is not None:
            end = self._quiet_since if self._quiet_since is not None else self._window
            pieces += self._add_speech(self._speech_start, end)
        return pieces + self._flush()

    def _step(self, probability: float) -> list[Span]:
        at = self._window
        if self._speech_start is None:
            if probability >= ENTER:
                self._speech_start, self._quiet_since, self._probabilities = at, None, [probability]
                self._goes_on = False
                return []
            gap_s = 0.0 if self._piece is None else (at * WINDOW - self._piece.end) / RATE
            return self._flush() if gap_s > MAX_GAP_S else []
        self._probabilities.append(probability)
        if probability >= LEAVE:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = at
        if self._quiet_since is not None and _seconds(at + 1 - self._quiet_since) >= MIN_SILENCE_S:
            start, end = self._speech_start, self._quiet_since
            self._speech_start = self._quiet_since = None
            return self._add_speech(start, end)
        if _seconds(at + 1 - self._speech_start) >= MAX_PIECE_S - 2 * PAD_S:
            return self._cut_long()
        return []

    def _cut_long(self) -> list[Span]:
        """Speech without a pause: cut where it is weakest in its second half."""
        assert self._speech_start is not None
        half = len(self._probabilities) // 2
        weakest = min(range(half, len(self._probabilities)), key=self._probabilities.__getitem__)
        start, cut = self._speech_start, self._speech_start + weakest
        pieces = self._add_speech(start, cut, pad_end=False) + self._flush()
        self._speech_start, self._probabilities, self._goes_on = cut, self._probabilities[weakest:], True
        if self._quiet_since is not None:
            self._quiet_since = max(self._quiet_since, cut)
        return pieces

    def _add_speech(self, start: int, end: int, *, pad_end: bool = True) -> list[Span]:
        if end == start or (_seconds(end - start) < MIN_SPEECH_S and not self._goes_on):
            return []
        pad = round(PAD_S * RATE)
        span = Span(max(self._floor, start * WINDOW - pad), end * WINDOW + (pad if pad_end else 0))
        if self._piece is None:
            self._piece = span
            return []
        fits = (span.end - self._piece.start) / RATE <= MAX_PIECE_S
        near = (span.start - self._piece.end) / RATE <= MAX_GAP_S
        if fits and near:
            self._piece = Span(self._piece.start, span.end)
            return []
        done = self._flush()
        self._piece = Span(max(span.start, done[0].end), span.end)
        return done

    def _flush(self) -> list[Span]:
        piece, self._piece = self._piece, None
        if piece is None:
            return []
        self._floor = piece.end
        return [piece]


def _seconds(windows: int) -> float:
    return windows * WINDOW / RATE
